"""A store as the trainer sees it, and pairs of its traces in crystals of other sizes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from defectgen.hosts.elements import atomic_number
from hpc.store.inspect import status
from pdfcalc.reading import UnusableFile

if TYPE_CHECKING:
    import zarr

PRISTINE = "pristine"  # the class of no defect at all, where a run has it


@dataclass(frozen=True)
class PDFStore:
    """A store's arrays; S structures, V variants (0 is pristine), R points.

    All are in memory but `g`, which may be larger.
    """

    path: Path
    g: zarr.Array  # (S, V, R) float32, 1/A^2
    r: np.ndarray  # (R,) A
    label: np.ndarray  # (S, V): 0 pristine, 1.. a defect class, -1 quarantined
    concentration: np.ndarray  # (S, V), fraction of host atoms
    impurity: np.ndarray  # (S, V) atomic number, 0 for none
    id: np.ndarray  # (S,) str, as element and origin
    element: np.ndarray
    origin: np.ndarray
    space_group: np.ndarray  # (S,) int
    classes: tuple[str, ...]  # names of label 1, 2, ..., and last PRISTINE where it is one
    attributes: dict[str, Any]

    @cached_property
    def rows(self) -> np.ndarray:
        """(n, 2) structure and variant of every sample: none that is quarantined."""
        return np.argwhere(self.label >= (0 if PRISTINE in self.classes else 1))

    @cached_property
    def target(self) -> np.ndarray:
        """(n,) class 0..C-1 of every sample."""
        label = self.label[tuple(self.rows.T)].astype(np.int64)
        return np.where(label, label, len(self.classes)) - 1

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids and labels: equal if a split of one store is a split of the other."""
        digest = hashlib.sha256("\n".join(self.id).encode())
        digest.update(np.ascontiguousarray(self.label, dtype=np.int8).tobytes())
        return digest.hexdigest()

    def read(
        self, structures: np.ndarray | None = None, variants: slice = slice(None)
    ) -> np.ndarray:
        """(n, v, R) G(r) of ascending structures, of all if none are given, 1/A^2.

        Raises:
            ValueError: the store is damaged there.
        """
        try:
            if structures is None:
                return np.asarray(self.g[:, variants])
            return np.asarray(self.g.oindex[structures, variants])
        # Of what is no file, of checksums and of what unpacks.
        except (UnusableFile, ValueError, RuntimeError) as error:
            raise ValueError(_damaged(self.path, error)) from error

    @property
    def block_size(self) -> int:
        """Structures that are written, and best read, together: those of a shard."""
        return (self.g.shards or self.g.chunks)[0]

    @property
    def start(self) -> float:
        """The first r in steps of r."""
        return float(self.r[0] / np.diff(self.r).mean())

    @cached_property
    def host_number(self) -> np.ndarray:
        """(S,) atomic number of the host."""
        return np.array([atomic_number(symbol) for symbol in self.element])


def read_store(path: Path | str, with_pristine: bool = False) -> PDFStore:
    """Open a store; ValueError if it is missing, lacks an array or is not finished.

    Args:
        with_pristine: have a sample of each host itself, too, of a class of their own.
    """
    import zarr

    from hpc.store.own_files import OwnFiles

    path = Path(path)
    try:
        group = zarr.open_group(OwnFiles(path, read_only=True), mode="r")
        columns = {
            name: np.asarray(group[name])
            for name in ("r", "label", "concentration", "impurity", "space_group")
        }
        g: Any = group["g"]
        names = {
            name: np.asarray(group[name]).astype(object).astype(str)
            for name in ("id", "element", "origin")
        }
        flags: dict[str, Any] = dict(group["label"].attrs)
        meaning = dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))
    except (FileNotFoundError, KeyError, zarr.errors.BaseZarrError) as error:
        raise ValueError(
            f"{path} is not a store of `defectpdf generate`: {type(error).__name__} {error}"
        ) from error
    except (UnusableFile, ValueError, RuntimeError) as error:
        raise ValueError(_damaged(path, error)) from error
    classes = tuple(meaning[value] for value in sorted(meaning) if value > 0)
    store = PDFStore(
        path=path,
        g=g,
        classes=(*classes, PRISTINE) if with_pristine else classes,
        attributes=dict(group.attrs),
        **columns,
        **names,
    )
    _check(store)
    return store


def _check(store: PDFStore) -> None:
    if (store.path / "ledger").is_dir() and (missing := status(store.path)["n_missing"]):
        raise ValueError(
            f"{store.path} is not finished, {missing} hosts are missing; "
            "run the same `defectpdf generate` again"
        )
    if not len(store.rows):
        raise ValueError(f"{store.path} has no PDF of a defective crystal")
    if len(set(store.id)) != len(store.id):
        raise ValueError(f"{store.path} repeats structure ids; a split needs unique ones")


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({error}); `defectpdf verify` says where"


def require_finite(store: PDFStore, structures: np.ndarray, g: np.ndarray) -> None:
    """ValueError if a labelled trace of `g` (n, v, R), the first v variants, is not finite."""
    finite = np.isfinite(g).all(2) | (store.label[structures, : g.shape[1]] < 0)
    if not finite.all():
        first = store.id[structures[~finite.all(1)][0]]
        raise ValueError(
            f"{store.path} has {np.count_nonzero(~finite)} labelled PDFs that are not "
            f"finite, the first of structure {first}; run `defectpdf verify`"
        )


def stretch_pairs(pairs: torch.Tensor, factor: torch.Tensor, start: float) -> torch.Tensor:
    """Pairs (B, 2, R) with r stretched by a factor (B,): f(r) becomes f(r / factor).

    That is the pair of a crystal with a larger or smaller lattice, but for peak widths and
    resolution. `start` is the first r in grid steps; the grid is taken as even, interpolation is
    cubic (Catmull-Rom) and what lies outside the grid repeats its end.
    """
    points = pairs.shape[-1]
    grid = torch.arange(points, device=pairs.device) + start
    position = (grid / factor[:, None] - start).clamp(1, points - 3)
    index = position.floor().long()
    t = (position - index)[:, None]

    def at(offset: int) -> torch.Tensor:
        return pairs.gather(2, (index + offset)[:, None].expand(-1, 2, -1))

    before, here, after, beyond = at(-1), at(0), at(1), at(2)
    curve = 2 * before - 5 * here + 4 * after - beyond + t * (3 * (here - after) + beyond - before)
    return here + 0.5 * t * (after - before + t * curve)
