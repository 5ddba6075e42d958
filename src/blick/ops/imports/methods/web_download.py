"""The method web-download: the data comes from a server that the user names (spec: import-and-tasks §8)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from blick.model.context import RequestContext
from blick.model.errors import Invalid, LimitExceeded, SourceError
from blick.model.import_job import Expected, ImportWork
from blick.model.uri_filter import shown
from blick.ops.imports.methods.source import Source
from blick.ops.services import Services
from blick.stream.download import Patience, Wanted, download


async def require_allowed(services: Services, uri: str) -> None:
    """Raises Invalid for a URI that the operator's filter refuses, or whose host has no address that it lets pass."""
    try:
        await services.fetcher.require_allowed(uri)
    except Invalid as error:
        raise Invalid(f"URI for web-download does not pass filtering: {shown(uri)}") from error


@asynccontextmanager
async def source(services: Services, work: ImportWork, context: RequestContext) -> AsyncIterator[Source]:  # noqa: ARG001 - as the other methods
    """Ask for the data, and give it, not to be used outside the context. The filter is applied again.

    Raises Invalid (refused by the filter), SourceError (also where the announced size is not the expected one),
    LimitExceeded where it is more than an image may have.
    """
    arguments = work.arguments
    expected = Expected(
        size_bytes=arguments.get("size"),
        checksum=arguments.get("checksum"),
        os_hash_algo=arguments.get("os_hash_algo"),
        os_hash_value=arguments.get("os_hash_value"),
    )
    is_verified = expected.checksum is not None or expected.os_hash_value is not None
    wanted = Wanted(arguments["uri"], is_verified=is_verified)
    async with download(services.fetcher, wanted, Patience(services.settings.fetch.retries)) as body:
        require_size(services, body.size_bytes, expected)
        announced_bytes = body.size_bytes if expected.size_bytes is None else expected.size_bytes
        yield Source(body, replace(expected, size_bytes=announced_bytes))


def require_size(services: Services, announced_bytes: int | None, expected: Expected) -> None:
    """Is that much wanted, and may it be? Raises SourceError, LimitExceeded."""
    if announced_bytes is None:
        return
    if expected.size_bytes not in (None, announced_bytes):
        raise SourceError(f"The server announces {announced_bytes} bytes instead of {expected.size_bytes}.")
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    if announced_bytes > cap_bytes:
        raise LimitExceeded(f"The data is larger than the {cap_bytes} bytes that are allowed.")
