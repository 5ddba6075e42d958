"""The first step of an import: its bytes are where it can work with them (spec: import-and-tasks §5)."""

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from blick.model import import_job
from blick.model.blob import Digests
from blick.model.errors import DataNotFound, Invalid, ServiceUnavailable, SourceBroken, StoreError
from blick.model.image import Image
from blick.model.import_job import Expected, SourceData
from blick.ops import staging
from blick.ops.imports import data
from blick.ops.imports.current import CurrentImport
from blick.ops.imports.methods import glance_download, web_download
from blick.ops.imports.methods.source import Source
from blick.ops.imports.told import ToldBody
from blick.stream.hashing import Hashing
from blick.stream.pump import move, pump


async def fetch(current: CurrentImport, next_step: str) -> None:
    """See that the bytes are there, and note where. Done again from its beginning if it was cut off.

    Raises Invalid, LimitExceeded, SourceError, StoreError (of the staging area), Gone, ServiceUnavailable.
    """
    match current.work.method:
        case import_job.GLANCE_DIRECT | import_job.RESUMABLE_UPLOAD:
            await current.advance(next_step, replace(current.state, source=await found(current)))
        case import_job.COPY_IMAGE:
            source = await data.copy_to_read(current, await current.image())
            await current.advance(next_step, replace(current.state, source=source))
        case import_job.GLANCE_DOWNLOAD:
            await _fetch_image(current, next_step)
        case _:
            async with AsyncExitStack() as stack:
                opened = web_download.source(current.services, current.work, current.context)
                source = await _fill(current, await stack.enter_async_context(opened), await current.image())
            await current.advance(next_step, replace(current.state, source=source))


async def is_there(current: CurrentImport) -> bool:
    """Are the bytes still where an earlier step, perhaps on another node, has left them?

    Raises ServiceUnavailable where that cannot be told now: bytes out of reach are not gone.
    """
    source = current.state.source
    if source is None:
        return False
    try:
        store = staging.store_of(current.services, source.location)
        return await store.size_bytes(source.location) == source.size_bytes
    except DataNotFound:
        return False
    except StoreError as error:
        raise ServiceUnavailable(f"The data to import cannot be looked for now: {error}") from error


async def found(current: CurrentImport) -> SourceData | None:
    """The bytes of an import whose method needs not fetch them; None for the others.

    Raises Invalid where they are gone, ServiceUnavailable where that cannot be told now.
    """
    match current.work.method:
        case import_job.GLANCE_DIRECT:
            return await _staged(current)
        case import_job.RESUMABLE_UPLOAD:
            await _require_there(current)
            return current.state.source
        case _:
            return None


async def _staged(current: CurrentImport) -> SourceData:
    try:
        staged = await staging.find(current.services, current.work.image_id)
    except StoreError as error:
        raise ServiceUnavailable(f"The staged data cannot be looked for now: {error}") from error
    if staged is None:
        raise Invalid("The staged data of the image is gone.")
    return SourceData(staged.location, staged.size_bytes)


async def _require_there(current: CurrentImport) -> None:
    source = current.state.source
    if source is None or not await is_there(current):
        raise Invalid("The uploaded data of the image is gone.")


async def _fetch_image(current: CurrentImport, next_step: str) -> None:
    """From another region: what the image is, then its bytes."""
    if current.work.arguments.get("endpoint") is None:
        raise Invalid(current.work.arguments.get("trouble") or "There is no image service in that region.")
    remote = await glance_download.remote_image(current.services, current.work, current.context)
    await current.advance(current.step, current.state, values=remote.values, properties=remote.properties)
    async with AsyncExitStack() as stack:
        opened = glance_download.source(current.services, current.work, current.context, remote)
        source = await _fill(current, await stack.enter_async_context(opened), await current.image())
    await current.advance(next_step, replace(current.state, source=source))


async def _fill(current: CurrentImport, source: Source, image: Image) -> SourceData:
    """Stage what the source gives; hashed on the way, unless a plugin may change it afterwards."""
    services = current.services
    expected = source.expected
    body = ToldBody(source.body, current.moved)
    bounds: dict[str, Any] = {
        "cap_bytes": services.settings.quotas.image_size_cap_bytes,
        "expected_bytes": expected.size_bytes,
        "threads": services.threads,
    }
    algorithm = expected.os_hash_algo or image.os_hash_algo or services.settings.api.hashing_algorithm
    changes = any(plugin.changes_data for plugin in current.plugins)
    asked = expected.os_hash_value is not None or expected.checksum is not None
    digests: Digests | None = None
    async with (
        current.moving("downloading", expected.size_bytes),
        staging.filling(services, image.id, expected.size_bytes) as writer,
    ):
        if changes and not asked:
            size_bytes = await move(body, writer.write, **bounds)
        else:
            digests = await pump(body, writer.write, hashing=Hashing(algorithm), inspection=None, **bounds)
            size_bytes = digests.size_bytes
            _require_expected(digests, expected)
        location = await writer.commit()
    wanted = image.os_hash_algo or services.settings.api.hashing_algorithm
    return SourceData(location, size_bytes, digests if algorithm == wanted else None)


def _require_expected(digests: Digests, expected: Expected) -> None:
    if expected.checksum is not None and digests.checksum != expected.checksum:
        raise SourceBroken(f"The MD5 of the data is {digests.checksum} instead of {expected.checksum}.")
    if expected.os_hash_value is not None and digests.os_hash_value != expected.os_hash_value:
        raise SourceBroken(
            f"The {digests.os_hash_algo} of the data is {digests.os_hash_value} instead of {expected.os_hash_value}."
        )
