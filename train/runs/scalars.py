"""A run's epochs as TensorBoard reads them: `tensorboard --logdir RUN`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

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
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"TensorBoard files need tensorboard ({error}): pip install 'defectpdf[tensorboard]'"
        ) from None

    # From step 1 on, readers forget what older files said. These stay: a TensorBoard that is open
    # on one would not get past it if it were gone.
    with SummaryWriter(str(run / FOLDER), purge_step=1) as writer:

        def write(record: Mapping[str, float]) -> None:
            for name, value in record.items():
                if name != "epoch":
                    writer.add_scalar(name, value, int(record["epoch"]))
            writer.flush()

        for record in history:
            write(record)
        yield write
