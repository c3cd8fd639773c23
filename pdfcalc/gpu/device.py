"""What the torch modules share: how much memory to take, full float32, and fused kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

_SHARE_OF_FREE = 0.25
"""Part of the free memory of a GPU taken at once; the rest is left to the caller's network."""
_MOST_MEMORY = 4 << 30
"""More makes nothing faster, and no tensor then has 2^31 elements."""
_CPU_MEMORY = 256 << 20


def memory_budget(device: torch.device) -> int:
    """Bytes that one batch may take on the device."""
    if device.type != "cuda":
        return _CPU_MEMORY
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + kept
    return min(int(_SHARE_OF_FREE * free), _MOST_MEMORY)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 matrices in float32: TF32, which training may ask for, has 11 bits."""
    matmul = torch.backends.cuda.matmul
    # torch 2.9 renamed the switch, and refuses to read the old one where the new one was used.
    is_new = hasattr(matmul, "fp32_precision")
    name, full = ("fp32_precision", "ieee") if is_new else ("allow_tf32", False)
    before = getattr(matmul, name)
    setattr(matmul, name, full)
    try:
        yield
    finally:
        setattr(matmul, name, before)


def fused(function: Callable[..., T], device: torch.device) -> Callable[..., T]:
    """An elementwise function as one GPU kernel where torch can compile it, else as it is."""
    from torch.utils._triton import has_triton

    if device.type != "cuda" or not has_triton():
        return function
    chosen = torch.compile(function, dynamic=True)

    def call(*arguments: object) -> T:
        nonlocal chosen
        try:
            return chosen(*arguments)
        except torch.cuda.OutOfMemoryError:
            raise
        # Compiling needs a C compiler and more, and fails in as many ways.
        except Exception as error:
            if chosen is function:
                raise
            warnings.warn(f"not compiled, which is slower: {error}", stacklevel=2)
            chosen = function
            return function(*arguments)

    return call
