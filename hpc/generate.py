"""The main job: a run description in, a complete store out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc.description import RunDescription
from hpc.executors import Execute, Work
from hpc.plan import Shard, Task
from hpc.store.creation import create, is_to_be_made
from hpc.store.inputs import has_its_items, refuse_another_run, refuse_other_formulas
from hpc.store.ledger import DoneRecord, FailedTask, QuarantinedHost, join_records, read_records
from hpc.store.locks import Part, alone, creating, writing
from hpc.store.places import sweep_partial_files
from hpc.store.repair import restore
from hpc.store.store import Store
from hpc.watching.progress import track
from hpc.watching.runlog import Log, run_log
from hpc.workers.supervisor import SupervisedWork

log = logging.getLogger(__name__)
HOST_TIMEOUT = 600.0
_FAILED_IN_A_ROW = 5


@dataclass(frozen=True)
class Summary:
    """What a call of `generate` did; of its share, `n_sound` hosts are in the store."""

    n_structures: int
    n_variants: int
    of_samples: str
    n_computed: int
    n_sound: int
    seconds: float
    quarantined: tuple[QuarantinedHost, ...]

    @property
    def n_samples(self) -> int:
        """Samples computed by this call; `of_samples` is what to call them."""
        return self.n_computed * self.n_variants


def generate(
    path: Path,
    description: RunDescription | None,
    execute: Execute,
    *,
    part: Part | None = None,
    repair: bool = False,
    timeout: float = HOST_TIMEOUT,
) -> Summary:
    """Bring the store at `path` to completion, doing only what is missing.

    Args:
        description: None for that of the store, or the default for a new one.
        execute: what `hpc.executors.start_executor` yields.
        part: do this share of the shards only; other processes may do theirs at the same time.
        repair: also do what is damaged or quarantined.
        timeout: seconds for a host, after which it is tried again and at last quarantined.

    Raises:
        ValueError: unusable input, a store of another run, or one that is being written.
        OSError: the store can't be written, as on a full disk; what is done stays done.
    """
    path = path.absolute()
    try:
        with writing(path, part, repair):
            if repair and part is None:
                sweep_partial_files(path)
            store = _open(path, description, repair)
            work = SupervisedWork(path, store.input_hash, repair, timeout)
            summary = _complete(store, execute, work, part)
        _join_records(store)
        return summary
    except (KeyboardInterrupt, SystemExit):
        log.warning("%s: stopped; what is done stays done, run generate again to go on", path)
        raise
    except OSError as error:
        reason = f"{error.strerror or error}; run generate again once there is a remedy"
        raise OSError(error.errno, reason, str(path)) from error


def _open(path: Path, description: RunDescription | None, repair: bool) -> Store:
    """The store to complete: a new one, or the one there if it is of the same run and sound.

    Parts of a run that start together wait for each other only where the store is to be made.
    """
    if is_to_be_made(path):
        with creating(path):
            if is_to_be_made(path):
                description = description or RunDescription()
                return create(path, description, description.source.items())
    if repair:
        with creating(path):
            restore(path, description)
    store = Store(path, mode="r+")
    refuse_other_formulas(store)
    if description is not None:
        refuse_another_run(store, description)
    if not has_its_items(store):
        raise ValueError(f"{path / 'library.json'} is damaged: `generate --repair` puts it right")
    return store


def _join_records(store: Store) -> None:
    """Have the records of a complete run in one file, if nobody else writes to the store."""
    with alone(store.path) as is_alone:
        if is_alone and len(read_records(store.ledger, store.input_hash)) == len(store.shards):
            join_records(store.ledger, store.input_hash)


def _complete(store: Store, execute: Execute, work: SupervisedWork, part: Part | None) -> Summary:
    started = time.perf_counter()
    before = read_records(store.ledger, store.input_hash)
    shards = [shard for shard in store.shards if part is None or part.takes(shard.index)]
    done = {s.index: before[s.index] for s in shards if s.index in before and not work.repair}
    missing = [shard for shard in shards if shard.index not in done]
    n_missing = sum(shard.n_items for shard in missing)
    if done:
        log.info("%d of %d shards are done already", len(done), len(shards))
    n_variants = store.description.source.n_variants
    computed = 0
    share = part and f"{part.index}/{part.count}"
    with (
        run_log(store.ledger, part=share, repair=work.repair, hosts=n_missing) as write_event,
        track(store.description, n_missing) as advance,
    ):
        for record in _records(store, execute, work, missing, write_event):
            done[record.task] = record
            n_items = store.shards[record.task].n_items
            advance(n_items)
            if record != before.get(record.task):
                computed += n_items - len(record.quarantined)
    quarantined = tuple(item for record in done.values() for item in record.quarantined)
    return Summary(
        n_structures=store.n_items,
        n_variants=n_variants,
        of_samples=store.description.of_samples,
        n_computed=computed,
        n_sound=sum(shard.n_items for shard in shards) - len(quarantined),
        seconds=time.perf_counter() - started,
        quarantined=quarantined,
    )


def _task_of(store: Store, shard: Shard) -> Task:
    first, last = store.items[shard.start].id, store.items[shard.stop - 1].id
    return Task(index=shard.index, start=shard.start, stop=shard.stop, first=first, last=last)


def _records(
    store: Store, execute: Execute, work: Work, shards: Sequence[Shard], write_event: Log
) -> Iterator[DoneRecord]:
    """The records of all shards; those that fail are put off to the end and tried once more.

    Raises:
        OSError: a task failed again, or several did in a row, as on a full disk.
    """
    for last in (False, True):
        failed, in_a_row = [], 0
        for outcome in execute(work, (_task_of(store, shard) for shard in shards)):
            if isinstance(outcome, FailedTask):
                write_event("failed", **outcome.model_dump())
                failed.append(outcome.task)
                in_a_row += 1
                if last or in_a_row == _FAILED_IN_A_ROW:
                    raise OSError(outcome.reason)
                log.warning("shard %d is put off: %s", outcome.task, outcome.reason)
                continue
            in_a_row = 0
            for failure in outcome.failures:
                log.warning("host %s, tried again: %s", failure.host, failure.reason)
            write_event("done", **outcome.model_dump(exclude={"input_hash"}))
            yield outcome
        if not failed:
            return
        shards = [store.shards[index] for index in sorted(failed)]
