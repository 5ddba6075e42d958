"""The job behind POST …/locations: look at the place, record it, hash what is there (spec: import-and-tasks §11.2).

| hashing wanted | validation data | what happens |
|---|---|---|
| yes | given | importing → hashed and compared → active |
| yes | none | active → hashed |
| no | given | active with the hashes that were given |
| no | none | active |

Whatever goes wrong ends the task as a failure with its reason; an image that waits for its hashes is queued again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from blick.db import images, location_imports
from blick.db.jobs import FAILURE, Job
from blick.db.location_imports import HASHING, Addition
from blick.db.moment import Moment
from blick.jobs.kinds import Ending
from blick.jobs.progress import Progress
from blick.model.blob import Digests, Location
from blick.model.errors import Conflict, Forbidden, Gone, Invalid, LimitExceeded, StoreError
from blick.model.image import ACTIVE, IMPORTING, Image
from blick.model.location import WEB_SCHEMES, LocationImport, scheme_of
from blick.ops import locations, quota
from blick.ops.services import Services
from blick.stream.body import PiecesBody
from blick.stream.hashing import Hashing
from blick.stream.pump import pump

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.2

# What ends the task as a failure, with its own words.
_REASONS = (Invalid, Conflict, Forbidden, LimitExceeded, StoreError)


async def run(services: Services, job: Job) -> None:
    """Do the job from the step at which it is. Raises Gone if it is not ours any more, ServiceUnavailable."""
    wanted = LocationImport(**job.payload)
    try:
        if job.step == HASHING or await _add(services, job, wanted):
            await _hash(services, job, wanted)
    except _REASONS as error:
        _log.warning("location of image %s is not taken: %s", wanted.image_id, error)
        await _fail(services, job, wanted, Ending(FAILURE, str(error)))


async def cancel(services: Services, job: Job, ending: Ending) -> None:
    """End the job as `ending` says: the task is a failure with its message. Raises Gone, ServiceUnavailable."""
    await _fail(services, job, LocationImport(**job.payload), ending)


async def _fail(services: Services, job: Job, wanted: LocationImport, ending: Ending) -> None:
    # What lies on others' servers stays visible, as clients expect; a new attempt takes its place.
    keeps = scheme_of(wanted.url) in WEB_SCHEMES
    await services.database.write(
        location_imports.fail,
        job,
        wanted,
        ending.message,
        _moment(services),
        keeps_location=keeps,
        outcome=ending.outcome,
    )


async def _add(services: Services, job: Job, wanted: LocationImport) -> bool:
    """Record the location; False if that was all."""
    image = await services.database.read(images.get, wanted.image_id, None)
    if image is None:
        await services.database.write(location_imports.give_up, job, wanted, _moment(services))
        return False
    addition = await _addition(services, image, wanted)
    return await services.database.write(location_imports.add, job, wanted, addition, _moment(services))


async def _addition(services: Services, image: Image, wanted: LocationImport) -> Addition:
    if image.disk_format is None or image.container_format is None:
        raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
    most = services.settings.quotas.image_location_quota
    if most == 0:
        raise LimitExceeded(f"The limit has been exceeded on the number of allowed image locations: {most}")
    metadata = locations.with_store(services, {"url": wanted.url, "metadata": {}})["metadata"]
    size_bytes = await locations.size_of_new(services, locations.place_of(wanted.url, metadata))
    values: dict[str, Any] = {"size": size_bytes, "virtual_size": None}
    hashes = services.settings.imports.do_secure_hash
    if not hashes:
        values |= wanted.validation_data
    elif wanted.os_hash_algo is None:
        # Clients see by this that the hash of an image that is active already is on its way.
        values["os_hash_algo"] = _algorithm(services, wanted, image)
    return Addition(
        metadata=metadata,
        status=IMPORTING if hashes and wanted.os_hash_value is not None else ACTIVE,
        values=values,
        size_bytes=size_bytes,
        needs_hashing=hashes,
        storage=quota.storage(services, image.owner),
    )


async def _hash(services: Services, job: Job, wanted: LocationImport) -> None:
    image = await services.database.read(images.get, wanted.image_id, None)
    place = next((found for found in image.locations if found.uri == wanted.url), None) if image is not None else None
    if image is None or place is None:
        await services.database.write(location_imports.give_up, job, wanted, _moment(services))
        return
    store = services.stores.for_location(place.uri, place.metadata)
    location = Location(store.name, place.uri, place.metadata)
    try:
        digests = await _digests(services, wanted, image, location, _progress(services, job, wanted))
    except Gone:
        await services.database.write(location_imports.give_up, job, wanted, _moment(services))
        return
    if wanted.os_hash_value is not None and digests.os_hash_value != wanted.os_hash_value:
        raise Invalid(f"The {digests.os_hash_algo} of the data is not the one in validation_data.")
    values: Mapping[str, Any] = {
        "checksum": digests.checksum,
        "os_hash_algo": digests.os_hash_algo,
        "os_hash_value": digests.os_hash_value,
    }
    await services.database.write(location_imports.succeed, job, wanted, values, _moment(services))


def _progress(services: Services, job: Job, wanted: LocationImport) -> Progress:
    return Progress(
        services.database,
        job,
        services.now_ms,
        lambda connection, now: location_imports.require_ours(connection, wanted, now),
    )


async def _digests(
    services: Services, wanted: LocationImport, image: Image, location: Location, progress: Progress
) -> Digests:
    """The hashes of what lies there, read as often as `http_retries` says.

    Raises StoreError, Invalid if the data is not as long as was announced, Gone if nobody wants them any more.
    """
    algorithm = _algorithm(services, wanted, image)
    tries = max(1, services.settings.imports.http_retries)
    for attempt in range(1, tries + 1):
        try:
            return await _read_once(services, image, location, Hashing(algorithm), progress)
        except (StoreError, Invalid) as error:
            if attempt == tries:
                raise
            _log.info("reading the location of image %s again: %s", image.id, error)
        await asyncio.sleep(_FIRST_RETRY_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _algorithm(services: Services, wanted: LocationImport, image: Image) -> str:
    return wanted.os_hash_algo or image.os_hash_algo or services.settings.api.hashing_algorithm


async def _read_once(
    services: Services, image: Image, location: Location, hashing: Hashing, progress: Progress
) -> Digests:
    store = services.stores.for_location(location.uri, location.metadata)
    async with aclosing(_told(store.read(location), progress, image.size)) as pieces:
        return await pump(
            PiecesBody(pieces),
            _drop,
            hashing=hashing,
            inspection=None,
            cap_bytes=services.settings.quotas.image_size_cap_bytes,
            expected_bytes=image.size,
            threads=services.threads,
        )


async def _told(
    pieces: AsyncGenerator[memoryview, None], progress: Progress, size_bytes: int | None
) -> AsyncGenerator[memoryview, None]:
    """The pieces, with their progress. Raises Gone when they are for nobody any more."""
    done_bytes = 0
    await progress.note(HASHING, done_bytes, size_bytes)
    async with aclosing(pieces):
        async for piece in pieces:
            done_bytes += len(piece)
            yield piece
            await progress.note(HASHING, done_bytes, size_bytes)


async def _drop(_buffer: memoryview) -> None:
    """Where the bytes go: nowhere."""


def _moment(services: Services) -> Moment:
    now = services.now()
    return Moment(now, now + timedelta(hours=services.settings.imports.task_time_to_live_h))
