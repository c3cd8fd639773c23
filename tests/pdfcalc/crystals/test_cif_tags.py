from __future__ import annotations

import math

import pytest

from pdfcalc.crystals.cif_tags import coordinate, decoded, number, structure_block

ATOMS = "loop_\n_atom_site_label\n_atom_site_fract_x\nCu1 0\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.615", 3.615), ("3.615(2)", 3.615), ("-.5", -0.5), ("+7e-3(1)", 0.007), ("1.", 1.0)],
)
def test_numbers_with_and_without_uncertainty(text, value):
    assert number(text, "_tag") == value


@pytest.mark.parametrize(
    "text", ["0,5", "9/10", "3.6 (2)", "nan", "inf", "1e999", "7D-3", "50%", "x", "", "1.2.3"]
)
def test_what_is_no_number_is_refused_with_tag_and_value(text):
    with pytest.raises(ValueError, match=r"^_tag '.*' is not a number"):
        number(text, "_tag")


def test_coordinates_may_be_fractions():
    assert coordinate("1/3", "_x") == pytest.approx(1 / 3)
    assert coordinate("-2/3", "_x") == pytest.approx(-2 / 3)
    assert coordinate(None, "_x") is None
    with pytest.raises(ValueError, match="_x '1/0' is not a number"):
        coordinate("1/0", "_x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_in_any_unicode(encoding):
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    assert decoded((mark + "data_é\n").encode(encoding)) == ("data_é", [])


def test_dots_are_underscores_and_absent_values_are_none():
    tags = structure_block(f"data_a\n_Cell.Length_A 3.6\n_b ?\n_c .\n_d '?'\n_e ''\n{ATOMS}")
    assert tags["_cell_length_a"] == ["3.6"]
    assert [tags[name] for name in ("_b", "_c", "_d", "_e")] == [[None]] * 4


def test_text_fields_hold_anything():
    tags = structure_block(f"data_a\n_t\n;\ndata_b\nloop_\n_atom_site_fract_x\n'\n;\n{ATOMS}")
    assert tags["_atom_site_fract_x"] == ["0"]


@pytest.mark.parametrize(
    "text",
    [
        f"data_W Co C\n_name F m -3 m\n{ATOMS}",
        f"data_a\n_name 'F m -3 m'\n_text\n;\ndata_b c\n_name x y\n;\n{ATOMS}",
        f'#\\#CIF_2.0\ndata_a\n_name """F m -3 m"""\n_list [1 2]\n_table {{"a":1}}\n{ATOMS}',
    ],
)
def test_names_without_quotes_and_those_of_cif_2(text):
    assert structure_block(text)["_name"] == ["F m -3 m"]


def test_a_tag_given_twice_must_say_the_same():
    with pytest.raises(ValueError, match=r"_cell_length_a is given twice, as 3\.6 and 3\.7"):
        structure_block(f"data_a\n_cell_length_a 3.6\n_cell.length_a 3.7\n{ATOMS}")
    for twice in ("_cell_a 1\n_cell_a 1", "_cell_a 1\n_cell_a ''", "_cell_a ?\n_cell_a 1"):
        assert structure_block(f"data_a\n{twice}\n_b 1\n_b 2\n{ATOMS}")["_cell_a"] == ["1"]


def test_many_quotes_and_digits_take_no_time():
    with pytest.raises(ValueError, match="not valid CIF"):
        structure_block(f"data_a\n{ATOMS}loop_\n_a\n" + "'\n" * 100_000)
    assert math.isfinite(number("9" * 300, "_tag") or 0)
