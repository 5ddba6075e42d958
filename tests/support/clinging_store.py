"""A store that does not let go of its objects when it is told to: a real one, on files."""

import asyncio
from importlib.metadata import EntryPoint
from typing import Any

from blick.model.blob import Location
from blick.model.errors import DataInUse
from blick.stores.file.store import FileStore

ENTRY_POINT = EntryPoint("clinging", "tests.support.clinging_store:ClingingStore", "blick.stores")


class ClingingStore(FileStore):
    """Removes nothing while `in_use`, fails with `error` if there is one, and takes until `gate` is open.

    `asked` are the URIs and keys that it was to remove, in their order.
    """

    def __init__(self, name: str, options: Any) -> None:
        super().__init__(name, options)
        self.in_use = False
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []

    async def require_unused(self, location: Location) -> None:
        if self.in_use:
            raise DataInUse(self.name, "somebody builds on it")

    async def delete(self, location: Location) -> None:
        await self._hesitate(location.uri)
        await self.require_unused(location)
        await super().delete(location)

    async def discard(self, key: str) -> None:
        await self._hesitate(key)
        await super().discard(key)

    async def _hesitate(self, wanted: str) -> None:
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        await self.gate.wait()
