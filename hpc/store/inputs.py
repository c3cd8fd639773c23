"""Whether a store still is what it was made from, and of the run that is to go on with it."""

from __future__ import annotations

from hpc.description import RunDescription, differences
from hpc.store.input_record import digest_of, hash_inputs, is_unchanged, read_record
from hpc.store.store import Store


def has_its_items(store: Store) -> bool:
    """Whether library.json holds the items that the store was made from."""
    if is_unchanged(store.path, store.input_hash):
        return True
    record = read_record(store.path, store.input_hash)
    try:
        if record and digest_of(store.path / "library.json") == record.library_digest:
            return True
        return hash_inputs(store.description, store.items) == store.input_hash
    except (OSError, ValueError):
        return False


def refuse_other_formulas(store: Store) -> None:
    """Raise ValueError if the store was made by other formulas than this version's."""
    made, own = store.revisions, store.description.revisions
    for name in sorted(made.keys() | own.keys()):
        before, now = made.get(name, 1), own.get(name, 1)
        if before != now:
            raise ValueError(
                f"{store.path} was made by revision {before} of {name}, this version of defectpdf "
                f"has {now}, which gives other values: use another --store, or the version that "
                "the store was begun with"
            )


def refuse_another_run(store: Store, description: RunDescription) -> None:
    """Raise ValueError, with what differs, unless a store is of this run.

    Its items are read only where something has changed since the store was made.
    """
    if description.identity == store.description.identity:
        record = read_record(store.path, store.input_hash)
        if record and record.source_digest == description.source.digest():
            return
        if hash_inputs(description, description.source.items()) == store.input_hash:
            return
    lines = differences(
        store.description.model_dump(mode="json"), description.model_dump(mode="json")
    )
    raise ValueError(
        f"{store.path} holds another run ({'; '.join(lines) or 'the hosts have changed'}): "
        "use another --store, or the stored settings"
    )
