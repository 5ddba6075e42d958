"""Bodies of requests, as generators."""

from collections.abc import AsyncIterator


async def in_pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def untouched_body() -> AsyncIterator[bytes]:
    """A body that must not be asked for."""
    raise AssertionError("the data was read before the refusal")
    yield b""
