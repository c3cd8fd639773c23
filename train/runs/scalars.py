"""A run's epochs as TensorBoard reads them: `tensorboard --logdir RUN`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pdfcalc.files import naming

FOLDER = "tensorboard"


@contextmanager
def epoch_scalars(
    run: Path, history: Iterable[Mapping[str, float]]
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A function that writes the record of an epoch into RUN/tensorboard, after those of `history`.

    A record has the number of its "epoch"; each other entry is a scalar. It is on disk when the
    function returns. What the folder held before no longer counts.

    Raises:
        ImportError: tensorboard is not installed.
        OSError: a record can't be written, as on a full disk.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"TensorBoard files need tensorboard ({error}): pip install 'defectpdf[tensorboard]'"
        ) from None

    # From step 1 on, readers forget what older files said. These stay: a TensorBoard that is open
    # on one would not get past it if it were gone.
    with _without_tracebacks_of_disks():
        with naming(run / FOLDER):
            writer = SummaryWriter(str(run / FOLDER), purge_step=1)

        def write(record: Mapping[str, float]) -> None:
            with naming(run / FOLDER):
                for name, value in record.items():
                    if name != "epoch":
                        writer.add_scalar(name, value, int(record["epoch"]))
                writer.flush()

        try:
            for record in history:
                write(record)
            yield write
        finally:
            with naming(run / FOLDER):
                writer.close()


@contextmanager
def _without_tracebacks_of_disks() -> Iterator[None]:
    """Leave OSErrors of threads unprinted: that of TensorBoard's comes again at its next call."""
    before = threading.excepthook

    def unless_of_a_disk(thrown: threading.ExceptHookArgs) -> None:
        if not issubclass(thrown.exc_type, OSError):
            before(thrown)

    threading.excepthook = unless_of_a_disk
    try:
        yield
    finally:
        threading.excepthook = before
