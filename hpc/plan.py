"""From a number of items to tasks."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work and of writing: a run of consecutive items."""

    index: int
    start: int
    stop: int

    @property
    def n_items(self) -> int:
        return self.stop - self.start


class Task(BaseModel):
    """A shard to be computed. Who computes it reads its items from the store.

    `first` and `last` are ids of items, by which a dashboard calls it.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    start: int
    stop: int
    first: str
    last: str

    @property
    def shard(self) -> Shard:
        return Shard(self.index, self.start, self.stop)


def plan_shards(n_items: int, per_shard: int) -> list[Shard]:
    """Consecutive runs of items, one a shard."""
    starts = range(0, n_items, per_shard)
    return [Shard(i, s, min(s + per_shard, n_items)) for i, s in enumerate(starts)]
