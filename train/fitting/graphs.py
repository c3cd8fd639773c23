"""A training step as one CUDA graph: hundreds of small kernels by a single launch.

Written to torch's documentation of CUDA graphs; not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch

_WARM_UP = 3
"""Steps before the capture, in which libraries choose their kernels and take their memory."""


Input = torch.Tensor | Mapping[str, torch.Tensor]


class GraphedStep:
    """`step`, captured after a few calls; inputs of later calls are copied into the graph's.

    Args:
        step: from tensors of the same shapes at every call, and mappings of such, to one tensor. It
            must not wait for the device, and must keep its state in tensors that stay where they
            are.
    """

    def __init__(self, step: Callable[..., torch.Tensor]) -> None:
        self._step = step
        self._calls = 0
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Input] = []
        self._output = torch.empty(0)

    def __call__(self, *inputs: Input) -> torch.Tensor:
        """The step's result, which the next call overwrites."""
        self._calls += 1
        if self._calls <= _WARM_UP:
            return self._warm_up(*inputs)
        if self._graph is None:
            self._inputs = [_clone(given) for given in inputs]
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._output = self._step(*self._inputs)
        for place, tensor in zip(_tensors(self._inputs), _tensors(inputs), strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return self._output

    def _warm_up(self, *inputs: Input) -> torch.Tensor:
        """The step on the stream of the capture, whose memory it is to find."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            output = self._step(*inputs)
        current.wait_stream(self._stream)
        return output


def _clone(given: Input) -> Input:
    if isinstance(given, torch.Tensor):
        return given.clone()
    return {name: tensor.clone() for name, tensor in given.items()}


def _tensors(inputs: Iterable[Input]) -> Iterator[torch.Tensor]:
    for given in inputs:
        yield from [given] if isinstance(given, torch.Tensor) else given.values()
