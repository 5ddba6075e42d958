"""The bytes of an import where they lie at present: read as a body, and judged (spec: security §2).

They are judged once, whatever the number of stores that get them: hashes and content, under the image's formats.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from blick.db.imports import Data
from blick.model.blob import Digests, Location
from blick.model.errors import DataNotFound, Invalid, SourceBroken, SourceUnavailable, StoreError, StoreUnavailable
from blick.model.image import Image
from blick.model.import_job import COPY_IMAGE, SourceData
from blick.ops import image_copies, staging
from blick.ops.imports.current import CurrentImport
from blick.ops.imports.told import ToldBody
from blick.ops.services import Services
from blick.stores.base import HasLocalFile, Store
from blick.stream.body import PiecesBody
from blick.stream.hashing import Hashing
from blick.stream.hop import hop
from blick.stream.inspect import Inspection
from blick.stream.pump import pump

_log = logging.getLogger(__name__)


async def copy_to_read(current: CurrentImport, image: Image) -> SourceData:
    """Where to copy an image's data from: the default store's copy first, then the others. Raises SourceUnavailable."""
    services = current.services
    default = services.settings.stores.default_store
    places = services.stores.ordered(image.locations)
    trouble: StoreError | None = None
    for place in sorted(places, key=lambda place: place.metadata.get("store") != default):
        try:
            copy = image_copies.copy_at(services, current.context, place)
            size_bytes = await copy.store.size_bytes(copy.location)
        except StoreError as error:
            _log.warning("image %s cannot be copied from one of its stores: %s", image.id, error)
            trouble = error
            continue
        if image.size in (None, size_bytes):
            return SourceData(copy.location, size_bytes)
        trouble = StoreError(copy.store.name, f"{size_bytes} bytes are stored, {image.size} are recorded")
    raise SourceUnavailable(f"No store has data of the image that could be copied: {trouble or 'it has none'}.")


def store_of(services: Services, source: SourceData) -> Store:
    """The store that has it. Raises SourceUnavailable."""
    try:
        return staging.store_of(services, source.location)
    except StoreError as error:
        raise SourceUnavailable(str(error)) from error


async def pieces(services: Services, source: SourceData) -> AsyncGenerator[memoryview, None]:
    """Its bytes. What is wrong with them is no store's fault that they go to: SourceUnavailable, SourceBroken."""
    try:
        async with aclosing(store_of(services, source).read(source.location)) as found:
            async for piece in found:
                yield piece
    except StoreUnavailable as error:
        raise SourceUnavailable(str(error)) from error
    except StoreError as error:
        raise SourceBroken(str(error)) from error


async def judge(current: CurrentImport, image: Image) -> Data:
    """Hash and inspect what is there. Raises UnsupportedMediaType, Invalid, LimitExceeded, SourceError."""
    source = current.state.source
    assert source is not None
    if current.work.method == COPY_IMAGE:
        return await _judge_copy(current, image, source)
    formats = current.services.settings.image_format
    inspection = Inspection(image.disk_format or "", image.container_format or "", formats)
    digests = source.digests
    if digests is None:
        digests = await _hash(current, source, _algorithm(current, image), inspection)
    else:
        await _inspect(current.services, source, inspection)
    if current.state.judged not in (None, digests):
        raise SourceBroken("The data is not what it was when the first store got it.")
    virtual_size = await hop(None, inspection.finish, source.size_bytes)
    return _data(image, digests, virtual_size if virtual_size is not None else image.virtual_size)


async def _judge_copy(current: CurrentImport, image: Image, source: SourceData) -> Data:
    """What the record says; where the bytes are at hand they are held against it, so that no damage is copied on."""
    known = image.os_hash_value is not None and image.os_hash_algo is not None
    if known and isinstance(store_of(current.services, source), HasLocalFile):
        digests = await _hash(current, source, str(image.os_hash_algo), None)
        if digests.os_hash_value != image.os_hash_value:
            raise SourceBroken("The stored data is not what the image's hash says.")
    return Data(
        size_bytes=source.size_bytes,
        checksum=image.checksum,
        os_hash_algo=image.os_hash_algo,
        os_hash_value=image.os_hash_value,
        virtual_size=image.virtual_size,
        disk_format=image.disk_format,
        container_format=image.container_format,
    )


def _algorithm(current: CurrentImport, image: Image) -> str:
    return image.os_hash_algo or current.services.settings.api.hashing_algorithm


async def _hash(current: CurrentImport, source: SourceData, algorithm: str, inspection: Inspection | None) -> Digests:
    services = current.services
    async with aclosing(pieces(services, source)) as found:
        return await pump(
            ToldBody(PiecesBody(found), current.moved),
            _drop,
            hashing=Hashing(algorithm),
            inspection=inspection,
            cap_bytes=services.settings.quotas.image_size_cap_bytes,
            expected_bytes=source.size_bytes,
            threads=services.threads,
        )


async def _inspect(services: Services, source: SourceData, inspection: Inspection) -> None:
    async with aclosing(pieces(services, source)) as found:
        async for piece in found:
            await hop(None, inspection.feed, piece)
            if inspection.is_settled:
                return


async def _drop(_buffer: memoryview) -> None:
    """Where the bytes go: nowhere."""


def _data(image: Image, digests: Digests, virtual_size: int | None) -> Data:
    return Data(
        size_bytes=digests.size_bytes,
        checksum=digests.checksum,
        os_hash_algo=digests.os_hash_algo,
        os_hash_value=digests.os_hash_value,
        virtual_size=virtual_size,
        disk_format=image.disk_format,
        container_format=image.container_format,
    )


async def size_of(services: Services, location: Location) -> int:
    """How many bytes lie there. Raises Invalid where there is nothing, SourceUnavailable."""
    try:
        return await staging.store_of(services, location).size_bytes(location)
    except DataNotFound as error:
        raise Invalid("The staged data of the image is gone.") from error
    except StoreError as error:
        raise SourceUnavailable(str(error)) from error
