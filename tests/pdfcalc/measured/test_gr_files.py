"""Files of PDFs: written and read back, as other programs write them, and malformed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import GrHeader, PDFParameters, read_gr, write_gr

R = np.round(np.arange(1, 13) * 0.01, 2)
G = np.round(np.sin(40 * R), 4)
GETX3 = r"""# PDFgetXgui Configuration #
[PDF]
wavelength = 0.1863
dataformat = QA
mode = xray
composition = Cu3 Au
qmaxinst = 29.0
qmin = 0.85
qmax = 15.0

#### start data
#S 1
#L r($\AA$)  G($\AA^{-2}$)
"""
GETX2 = r"""title=Ni at 300K
sourcedir=C:\PDFgetX2\
temperature=300.000    containermut=0.02
lambda=0.126514    energy=98.0010    polartype=2
##### Sample_Setup information    num_atoms=2
#L symbol valence fractions z user_f1 user_f2 user_macoef
  Ni    0.00   0.750000    28   0.000000   0.000000   0.000000
  Al    0.00   0.250000    13   0.000000   0.000000   0.000000
geometry=2    mut=0.10590000    numberdensity=0.109910
samfluoretype=0    interpolateqmin_isa=0    smoothqmin=12.0
## S(q)  qmin=1.000000    qmax=40.000000
optqmin=20.0000    optqmax=38.0000
##### start data
#L r(A)    G(r)    d_r    d_Gr
"""
GETN = """# temp=15     runTitle=Run 3315
# Element relAtomNum atomMass atomCoherCS atomIncoherCS atomAbsorpCS
#   Ni        1.0000   58.693     13.3000        5.2000      4.49000
# density=7.0     effDensity=2.8777
#   1     46.6        0.87    21.63
# ## Damp     Qmin=0.87     Qmax=27.0     startDampQ=27.0    QAveMin=0.6
##### start data
#S 1 - PDF from PDFgetN
"""
GSAS = r"""[DEFAULT]

version = GSAS-II-v5000

# PDF calculation setup
mode = neutron
wavelength = 1.06600
composition = Ni1
bgscale = 1.000
qmaxinst = 22.00
qmin = 0.50000
qmax = 21.5000
rmin = 0.00

# End of config ---------------------------------------------------------------
#### start data
#S 1
#L r($\AA$)  G($\AA^{-2}$)
"""
PDFGUI = """History written: Tue May 6
title=to compare with x-rays
##### PDFgui
stype=N  neutron scattering
qmax=27.00
qdamp=0.01
qsig=0.5
qbroad=2e-2
temperature=0
##### start data
#L r(A) G(r) d_r d_Gr
"""
PDFFIT = "stype=X  x-ray scattering\nqmax=0   correction not applied\n##### start data\n#L r G\n"
FIT = "stype=X\nqmax=25.00\nfitrmin=0.1\n##### start data\n#L r(A) G(r) d_r d_Gr Gdiff\n"
NI = {"Ni": 1.0}


def write(path, header, *columns):
    rows = "\n".join(" ".join(map(repr, row)) for row in np.stack(columns, axis=1).tolist())
    path.write_text(header + rows + "\n")
    return path


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (GETX3, GrHeader(0.85, 15.0, None, None, "xray", None, 0.1863, {"Cu": 3.0, "Au": 1.0})),
        (GETX2, GrHeader(1, 40, None, None, "xray", 300.0, 0.126514, {"Ni": 0.75, "Al": 0.25})),
        (GETN, GrHeader(0.87, 27.0, scattering="neutron", temperature=15.0, composition=NI)),
        (GSAS, GrHeader(0.5, 21.5, None, None, "neutron", None, 1.066, NI)),
        ("#T G(R) PDF Ni\n#L R     G(R)\n", GrHeader()),
        ("Q range from 0.6 to 25, i.e. all\n", GrHeader()),
        (PDFGUI, GrHeader(None, 27.0, 0.01, 0.02, "neutron")),
        (PDFFIT, GrHeader(scattering="xray")),
        ("", GrHeader()),
        (
            "qmax = \x00ab\nmode=?\ncomposition = ??\ntemperature=hot\n".replace("\0", ""),
            GrHeader(),
        ),
    ],
)
def test_headers_of_other_programs(tmp_path, text, header):
    found = read_gr(write(tmp_path / "measured.gr", text, R, G))
    assert found.header == header
    np.testing.assert_array_equal(found.r, R)
    np.testing.assert_array_equal(found.g, G)
    assert found.dg is None


@pytest.mark.parametrize("header", ["", GETX2])
def test_columns_of_uncertainties(tmp_path, header):
    dg = np.abs(G) + 0.1
    for columns in ((dg,), (-2 * R, dg)):
        found = read_gr(write(tmp_path / "a.gr", header, R, G, *columns))
        np.testing.assert_array_equal(found.dg, dg)
        np.testing.assert_array_equal(found.g, G)
    assert read_gr(write(tmp_path / "a.gr", header, R, G, 0 * R, 0 * R)).dg is None


def test_a_saved_fit_gives_what_was_measured(tmp_path):
    calculated = G + 0.1 * R
    dg = np.full(len(R), 0.5)
    saved = write(tmp_path / "a.fgr", FIT, R, calculated, 0 * R, dg, G - calculated)
    np.testing.assert_allclose(read_gr(saved).g, G, atol=1e-12)
    np.testing.assert_array_equal(read_gr(saved).dg, dg)
    saved = write(tmp_path / "a.fit", "# x  ycalc  y  dy\n", R, calculated, G, dg)
    np.testing.assert_array_equal(read_gr(saved).g, G)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
def test_text_of_other_systems(tmp_path, encoding):
    path = write(tmp_path / "a.gr", "title=Messung 20 \u00b0C \u00e0 5 \u00c5\n" + GETX3, R, G)
    text = path.read_text().replace("\n", "\r\n")
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    path.write_bytes(mark + text.encode(encoding))
    found = read_gr(path)
    np.testing.assert_array_equal(found.g, G)
    assert found.header.qmax == 15.0


@pytest.mark.parametrize("scattering", ["xray", "neutron"])
def test_what_is_written_is_read_back(tmp_path, scattering):
    parameters = PDFParameters(1.5, 120.0, 0.01, 0.6, 23.6, 0.029, 0.01, scattering)
    g = np.random.default_rng(0).normal(size=len(parameters.r))
    write_gr(tmp_path / "a.gr", parameters.r, g, parameters)
    found = read_gr(tmp_path / "a.gr")
    np.testing.assert_allclose(found.r, parameters.r, atol=1e-9)
    np.testing.assert_allclose(found.g, g, rtol=1e-7)
    assert found.header == GrHeader(0.6, 23.6, 0.029, 0.01, scattering)
    # PDFgui knows the radiation by these words.
    text = (tmp_path / "a.gr").read_text()
    assert bool(re.search("x-?ray", text)) == (scattering == "xray")
    assert bool(re.search("neutron", text)) == (scattering == "neutron")


ROWS = "".join(f"{r} {g}\n" for r, g in zip(R.tolist(), G.tolist(), strict=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: no data: expected columns"),
        ("#### start data\n#L r G\n", "line 2: no data"),
        ("only words\n", "line 1: no data"),
        ("#### start data\n1 2\n1.1 x\n", r"line 3: '1.1 x' is not a row of numbers: correct it"),
        ("#### start data\n1 2\n1.1\n", r"line 3: one column: expected r and G; correct"),
        ("1 2\n1.1 3\n1.1 4\n", r"line 3: r = 1.1, G = 4.0: r must .*increase.*remove"),
        ("1 2\n1.1 nan\n", r"line 2: r = 1.1, G = nan.*remove"),
        ("1 2\n1.1 -inf\n", r"line 2: r = 1.1, G = -inf.*remove"),
        ("-1 2\n1.1 1\n", r"line 1: r = -1.0.*must not be negative"),
        ("1 2\n1.1 3\n", r"line 2: the data end after 2 points: .* export it again"),
        ("1.0,2.0\n1.1,3.0\n", r"line 1: '1.0,2.0' is not a row.*separate columns by blanks"),
        ("title\n1,0 2,0\n1,1 3,0\n", r"line 2: '1,0 2,0' is not a row.*decimals with a point"),
        ("1.0; 2.0\n", r"line 1: .*separate columns by blanks"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 3: binary, not text: export"),
        ("1 2\n" * 20, "line 2: r = 1.0"),
    ],
)
def test_malformed_files_are_refused_by_name_and_line(tmp_path, content, message):
    path = tmp_path / "bad.gr"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"bad\.gr, " + message) as caught:
        read_gr(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("a.gr", "outputtype = fq\n#### start data\n", r"holds F\(Q\), not G\(r\), by its output"),
        ("a.gr", "outputtype = sq\n#### start data\n", r"holds S\(Q\)"),
        ("a.gr", "outputtype = xyz\n#### start data\n", "holds another function"),
        ("a.gr", "#### start data\n#L Q($\\AA^{-1}$)  F($\\AA^{-1}$)\n", "a function of Q or"),
        ("a.gr", "# Q S(Q)\n", "a function of Q or angle"),
        ("a.dat", "# 2theta  counts\n", "a function of Q or angle"),
        ("a.gr", "#L r(A) g(r)\n", r"g\(r\) is not G\(r\)"),
        ("a.gr", "# r RDF\n", "RDF is not"),
        ("a.gr", "# r T(r)\n", r"T\(r\) is not"),
        ("a.gr", " 12\nnickel at 300 K\n", "the mark of RMCProfile's files"),
        ("a.fq", "", r"ends in .fq holds F\(Q\)"),
        ("a.sq", "# nickel\n", r"ends in .sq holds S\(Q\)"),
    ],
)
def test_other_functions_are_named_and_refused(tmp_path, name, header, message):
    path = write(tmp_path / name, header, R, G)
    with pytest.raises(ValueError, match=message) as caught:
        read_gr(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("in 1/A^2, as columns r and G")


def test_a_curve_that_goes_to_one_is_refused(tmp_path):
    r = np.arange(0, 20, 0.02)
    g = np.where(r < 2, 0.0, 1 + np.exp(-r) * np.sin(5 * r))
    with pytest.raises(ValueError, match=r"goes to 1, as g\(r\) and S\(Q\) do"):
        read_gr(write(tmp_path / "a.gr", "", r, g))


@settings(max_examples=60)
@given(
    st.sampled_from([GETX3, GETX2, GETN, GSAS, PDFFIT, "", "# r G(r)\n"]),
    st.lists(st.lists(st.sampled_from(["0", "1e-3", "nan", "-7.5"]), max_size=6), min_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([" ", "\t", "   "]),
)
def test_further_columns_change_nothing(tmp_path_factory, header, further, end, blank):
    rows = [
        blank.join([repr(r), repr(g), *more])
        for r, g, more in zip(R.tolist(), G.tolist(), further, strict=False)
    ]
    path = tmp_path_factory.getbasetemp() / "columns.gr"
    path.write_bytes(end.join([*header.splitlines(), *rows, ""]).encode())
    found = read_gr(path)
    np.testing.assert_array_equal(found.r, R)
    np.testing.assert_array_equal(found.g, G)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"none\.gr: cannot be read: No such file.*: give the file"
    ):
        read_gr(tmp_path / "none.gr")
    with pytest.raises(ValueError, match="a folder, where a file is needed"):
        read_gr(tmp_path)


@settings(max_examples=200)
@given(
    content=st.one_of(st.binary(max_size=200), st.text("0123456789.,;eE-+ \t\n#naif", max_size=200))
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.gr"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        found = read_gr(path)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            raise error
    else:
        assert np.isfinite(found.g).all()
        assert (np.diff(found.r) > 0).all()
