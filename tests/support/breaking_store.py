"""A store whose reading breaks off: a real one, that keeps its objects as files, behind a bad line."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from importlib.metadata import EntryPoint
from typing import Any

from blick.model.blob import ByteRange, Location
from blick.model.errors import StoreUnavailable
from blick.stores.base import Writer
from blick.stores.file.store import FileStore

ENTRY_POINT = EntryPoint("breaking", "tests.support.breaking_store:BreakingStore", "blick.stores")


class BreakingStore:
    """Option `readable_bytes`: how much of each reading comes before the store goes silent."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._files = FileStore(name, options)
        self._readable_bytes = int(options["readable_bytes"])

    @property
    def name(self) -> str:
        return self._files.name

    def writer(self, key: str, size_bytes: int | None) -> AbstractAsyncContextManager[Writer]:
        return self._files.writer(key, size_bytes)

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        left = self._readable_bytes
        async with aclosing(self._files.read(location, wanted)) as pieces:
            async for piece in pieces:
                if len(piece) > left:
                    if left:
                        yield piece[:left]
                    raise StoreUnavailable(self.name, "the line broke")
                left -= len(piece)
                yield piece

    async def size_bytes(self, location: Location) -> int:
        return await self._files.size_bytes(location)

    async def delete(self, location: Location) -> None:
        await self._files.delete(location)

    async def discard(self, key: str) -> None:
        await self._files.discard(key)

    async def aclose(self) -> None:
        await self._files.aclose()

    def owns(self, uri: str) -> bool:
        return self._files.owns(uri)
