"""Crystals that tests of several packages use."""

from __future__ import annotations


def fcc_cif(element: str, a: float, uiso: float) -> str:
    """A CIF file of a face-centred cubic element; a in A, uiso in A^2."""
    return f"""data_{element}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
{element} 0 0 0 {uiso}
"""
