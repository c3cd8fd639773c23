"""The files of a store as zarr reads them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

from pdfcalc.reading import require_regular

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class OwnFiles(LocalStore):
    """The files of a folder, for zarr: what is there but is no file is an error, and not opened."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        self._require_file(key)
        return await super().get(key, prototype, byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        self._require_file(key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    def _require_file(self, key: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            require_regular(self.root / key)
