"""What a process must know of its siblings, where `defectpdf launch` or torchrun started some."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from train.setup.endings import ProcessesLost
from train.setup.rendezvous import own_store

_LONGEST_WAIT = timedelta(days=1)
"""For what one process does while the others wait."""


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    device: torch.device
    local_size: int = 1
    """Processes on this machine."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def take_from_main(self, tensor: torch.Tensor) -> None:
        """Have rank 0's values in it, in place."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def most(self, value: int) -> int:
        """The largest value of any process."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def on_main(self, do: Callable[[], object]) -> None:
        """Have rank 0 do something while the others wait, for hours if need be.

        Raises:
            ValueError: what it did failed with this or an OSError; on every process.
        """
        if self.size == 1:
            do()
            return
        waiting = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
        message: list[str | None] = [None]
        if self.is_main:
            try:
                do()
            except (ValueError, OSError) as error:
                message = [str(error)]
        dist.broadcast_object_list(message, src=0, group=waiting)
        dist.destroy_process_group(waiting)
        if message[0] is not None:
            raise ValueError(message[0])


@contextmanager
def join_world() -> Iterator[World]:
    """Join the process group (nccl on GPUs, gloo on CPUs); alone, no group is made.

    Raises:
        ValueError: there are more processes than GPUs on this machine.
        ProcessesLost: in its context, another process has died.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        processes, devices = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
        if processes > devices:
            raise ValueError(
                f"{processes} processes share {devices} GPUs: start one for each "
                f"(defectpdf launch --processes {devices})"
            )
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    try:
        _join("nccl" if device.type == "cuda" else "gloo", rank, size, local_size)
        yield World(rank, size, device, local_size)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ProcessesLost(f"lost the others ({str(error).splitlines()[0]})") from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(backend: str, rank: int, size: int, local_size: int) -> None:
    store = own_store(os.environ, size)
    if store is None and local_size == size:
        # torchrun's may be that of an attempt before, with the addresses of processes now dead.
        store = next(rendezvous("env://"))[0]
        store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    if store is None:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)


def make_deterministic() -> None:
    """Have torch take only algorithms that give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


# DDP refuses annotations that are strings, as all in this file are.
def sum_in_rank_order(state, bucket):
    """DDP's mean of gradients over processes, added in the order of ranks wherever they lie."""
    own = bucket.buffer()
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    work = dist.all_gather(gathered, own, async_op=True)

    def mean(_: torch.futures.Future) -> torch.Tensor:
        total = gathered[0]
        for gradient in gathered[1:]:
            total += gradient
        return total / len(gathered)

    return work.get_future().then(mean)
