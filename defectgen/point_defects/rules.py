"""How many defects there are and which of them do what: the rules of all draws.

Each takes numbers or tensors alike: `variants` draws one variant at a time, `gpu_draws` many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def number_of_defects(
    at: Any, fraction: Sequence[Any], n_atoms: Any, n_kinds: Any, fewest: Any, most: Any
) -> Any:
    """All defects of a variant: the whole number nearest to a fraction of the host's atoms.

    Args:
        at: place of that fraction in its range, random in [0, 1), float64 of numpy or torch.
        fraction: lowest and highest, of the host's atoms.
        n_kinds: that share the defects.
        fewest, most: whose fraction is in the range; each kind has no fewer than the fewest.

    Returns:
        A whole number as float64.
    """
    low, high = fraction
    return ((low + (high - low) * at) * n_atoms).round().clip(n_kinds * fewest, most)


def share_of_first(total: Any, fewest: Any) -> tuple[Any, Any]:
    """Fewest and most defects of the first of two kinds that share so many, all as likely."""
    return fewest, total - fewest


def spans(vacancies: Any, own: Any, substitutions: Any, foreign: Any) -> tuple[Any, Any, Any]:
    """Where in a variant's list of places atoms are removed, foreign ones added, own ones added.

    The list has first the places of vacancies, then those of substitutions, of interstitial
    impurities and of self-interstitials.

    Args:
        vacancies, own, substitutions, foreign: number of defects of each of `KINDS`.

    Returns:
        The start and the stop of each.
    """
    on_host = vacancies + substitutions
    not_own = on_host + foreign
    return (0, on_host), (vacancies, not_own), (not_own, not_own + own)
