"""Files of PDFs: written and read back, as other programs write them, and malformed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pdfcalc import PDFParameters, read_gr, write_gr

GETX3 = r"""# PDFgetXgui Configuration #
[PDF]
dataformat = QA
mode = xray
qmaxinst = 29.0
qmin = 0.85
qmax = 15.0

#### start data
#S 1
#L r($\AA$)  G($\AA^{-2}$)
0.00 0
0.01 -2.5e-2
0.02 -5.0e-2
"""
GETX2 = r"""title=Ni at 300K
sourcedir=C:\PDFgetX2\
temperature=300.000    containermut=0.02
samfluoretype=0    interpolateqmin_isa=0
## S(q)  qmin=1.000000    qmax=40.000000
optqmin=20.0000    optqmax=38.0000
##### start data
#L r(A)    G(r)    d_r    d_Gr
  1.0e+000   -0.1   -27.6   0.03
  2.0e+000   -0.2   -27.6   0.06
"""
GETN = """# temp=15     runTitle=Run 3315
# ## Damp     Qmin=0.87     Qmax=27.0     startDampQ=27.0    QAveMin=0.6
##### start data
#S 1 - PDF from PDFgetN
  0.010   1.144
  0.020   2.258
"""
PDFGUI = """History written: Tue May 6
title=to compare with x-rays
##### PDFgui
stype=N  neutron scattering
qmax=27.00
qdamp=0.01
qsig=0.5
qbroad=2e-2
##### start data
#L r(A) G(r) d_r d_Gr
0.01 1.1 0 0
0.02 2.2 0 0
"""


@pytest.mark.parametrize(
    ("text", "header", "dg"),
    [
        (GETX3, {"stype": "X", "qmin": 0.85, "qmax": 15.0}, None),
        (GETX2, {"stype": "X", "temperature": 300.0, "qmin": 1.0, "qmax": 40.0}, [0.03, 0.06]),
        (GETN, {"stype": "N", "temperature": 15.0, "qmin": 0.87, "qmax": 27.0}, None),
        (PDFGUI, {"stype": "N", "qmax": 27.0, "qdamp": 0.01, "qbroad": 0.02}, None),
        ("1 2 0.1\n2 3 0.2\n", {}, [0.1, 0.2]),
    ],
)
def test_what_other_programs_write(tmp_path, text, header, dg):
    path = tmp_path / "measured.gr"
    path.write_text(text)
    found = read_gr(path)
    assert found.header == header
    rows = [line.split() for line in text.splitlines()]
    rows = rows[-len(found.r) :]
    np.testing.assert_array_equal(found.r, [float(row[0]) for row in rows])
    np.testing.assert_array_equal(found.g, [float(row[1]) for row in rows])
    assert (None if found.dg is None else found.dg.tolist()) == dg
    assert len(found.r) == (3 if text is GETX3 else 2)


@pytest.mark.parametrize("scattering", ["xray", "neutron"])
def test_what_is_written_is_read_back(tmp_path, scattering):
    parameters = PDFParameters(1.5, 120.0, 0.01, 0.6, 23.6, 0.029, 0.01, scattering)
    g = np.random.default_rng(0).normal(size=len(parameters.r))
    write_gr(tmp_path / "a.gr", parameters.r, g, parameters)
    found = read_gr(tmp_path / "a.gr")
    np.testing.assert_allclose(found.r, parameters.r, atol=1e-9)
    np.testing.assert_allclose(found.g, g, rtol=1e-7)
    stype = "X" if scattering == "xray" else "N"
    header = {"stype": stype, "qmin": 0.6, "qmax": 23.6, "qdamp": 0.029, "qbroad": 0.01}
    assert found.header == header
    # PDFgui knows the radiation by these words.
    text = (tmp_path / "a.gr").read_text()
    assert bool(re.search("x-?ray", text)) == (stype == "X")
    assert bool(re.search("neutron", text)) == (stype == "N")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no data: expected columns"),
        ("#### start data\n#L r G\n", "no data"),
        ("only words\n", "no data"),
        ("#### start data\n1 2\n1.1 x\n", r"line 3: '1.1 x' is not a row of numbers"),
        ("#### start data\n1 2\n1.1\n", r"line 3: 1 columns: expected 2 as above"),
        ("#### start data\n1 2 3 4 5\n", r"line 2: 5 columns: expected 2 to 4"),
        ("1 2\n1.1 3\n1.1 4\n", r"line 3: r = 1.1, G = 4.0: r must increase"),
        ("1 2\n1.1 nan\n", r"line 2: r = 1.1, G = nan"),
    ],
)
def test_malformed_files_are_refused_by_name_and_line(tmp_path, text, message):
    path = tmp_path / "bad.gr"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.gr.*" + message):
        read_gr(path)
