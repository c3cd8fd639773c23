"""The compiled inner loops of the engines: plain loops over plain arrays.

numba compiles each at its first call and keeps the result on disk for the next process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

SAME_PLACE = 0.01
"""Atoms nearer than this, in A, share a site and make no pair."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, and keep the result where that is possible.

    It lets other threads run meanwhile.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written to.
        return njit(nogil=True)(function)
