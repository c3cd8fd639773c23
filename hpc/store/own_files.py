"""The files of a store as zarr reads them."""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

from pdfcalc.reading import UnusableFile, require_regular

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
        if not self._is_there(key):
            return None
        return self._shallow(key, await super().get(key, prototype, byte_range))

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        if not self._is_there(key):
            return None
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return self._shallow(key, found)

    def _shallow(self, key: str, found: Buffer | None) -> Buffer | None:
        """What was found, if it is no JSON that no reader gets to the bottom of."""
        if found is not None and key.endswith("zarr.json"):
            try:
                with suppress(ValueError):  # which zarr tells better
                    json.loads(found.to_bytes())
            except RecursionError:
                path = str(self.root / key)
                raise UnusableFile(errno.EINVAL, "nested too deeply", path) from None
        return found

    def _is_there(self, key: str) -> bool:
        # Told by an error in a thread of zarr's, it would be printed if another read had failed.
        try:
            require_regular(self.root / key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True
