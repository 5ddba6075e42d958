"""Where an image's bytes lie, as users and services say (spec: images-api §15)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blick.db import location_imports
from blick.db import locations as db_locations
from blick.db.locations import LocationWrites
from blick.model.blob import Location
from blick.model.context import RequestContext
from blick.model.errors import Conflict, Forbidden, Invalid, LimitExceeded, NotFound, StoreError
from blick.model.image import ACTIVE, DEACTIVATED, QUEUED, Image, ImageLocation
from blick.model.image_patch import Change, LocationChange
from blick.model.location import (
    UNTOUCHABLE_SCHEMES,
    WEB_SCHEMES,
    GivenLocation,
    KnownHashes,
    LocationImport,
    LocationList,
    NewLocation,
    scheme_of,
)
from blick.model.task import LOCATION_IMPORT, PENDING, Task
from blick.model.task_input import without_secrets
from blick.ops import access, image_copies, quota
from blick.ops.cleanup import CLAIM_MS, remove_bytes
from blick.ops.services import Services
from blick.stream.addresses import require_fetchable
from blick.stream.hop import hop

_RULES = {"add": "set_image_location", "replace": "set_image_location", "remove": "delete_image_location"}


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats that an image will have."""

    disk_format: str | None
    container_format: str | None


async def require_changeable(
    services: Services, context: RequestContext, image: Image, changes: Sequence[Change]
) -> None:
    """Raises Forbidden unless this site lets users change locations, and this caller may do each of the changes."""
    if not services.settings.api.show_multiple_locations:
        raise Forbidden("It's not allowed to add, remove or replace locations if locations are invisible.")
    for rule in dict.fromkeys(_RULES[change.operation] for change in changes):
        await services.policy.require_on_image(rule, context, image)


async def plan(services: Services, image: Image, changes: Sequence[LocationChange], formats: Formats) -> LocationWrites:
    """What the changes of a PATCH mean for the image; asks stores and the filter about new URLs, writes nothing.

    Raises Conflict (status; validation data that cannot be believed), Forbidden (the last location would go), Invalid
    (URL, position, doubles, formats unset), LimitExceeded (number of locations, size).
    """
    _require_status(image, changes)
    known = services.stores.ordered(image.locations)
    # What still stands on a queued image was refused before: it gives way.
    refused = known if image.status == QUEUED else []
    listed = LocationList(tuple(GivenLocation(place.uri, place.metadata, place.id) for place in known))
    listed = replace(listed, entries=()) if refused else listed
    most = services.settings.quotas.image_location_quota
    for change in changes:
        listed = listed.changed(_with_stores(services, change), most)
    hashes = _hashes(services, image, listed.entries)
    size_bytes = await _common_size(services, image, listed.added)
    first_data: dict[str, Any] | None = None
    if image.status == QUEUED:
        if formats.disk_format is None or formats.container_format is None:
            raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
        first_data = {"size": size_bytes, "virtual_size": None, **hashes.values}
    return LocationWrites(
        added=[entry.as_record for entry in listed.added],
        removed=[*refused, *(entry.as_record for entry in listed.removed)],
        updated=_updated(known, listed.entries),
        reordered=_reordered(listed.entries),
        first_data=first_data,
        quota=most,
        not_before_ms=services.now_ms() + CLAIM_MS,
        storage=quota.storage(services, image.owner),
        stored_bytes=len(listed.added) * (size_bytes or 0),
    )


def _require_status(image: Image, changes: Sequence[LocationChange]) -> None:
    removes = any(change.operation == "remove" for change in changes)
    if image.status != ACTIVE and (removes or image.status != QUEUED):
        raise Conflict(f"The locations of an image in status {image.status} cannot be changed so.")


def _with_stores(services: Services, change: LocationChange) -> LocationChange:
    """The change, with the store of each location beside it where there are several."""
    if isinstance(change.value, list):
        return replace(change, value=[with_store(services, value) for value in change.value])
    return change if change.value is None else replace(change, value=with_store(services, change.value))


def with_store(services: Services, value: Mapping[str, Any]) -> dict[str, Any]:
    """A location with the id of its store in its metadata: the truth, whatever the caller said.

    Nothing is filled in where there is one store, but the id of another store is not believed there either.
    """
    metadata = dict(value["metadata"])
    store = services.stores.owner_of(value["url"], metadata.get("store"))
    if store is not None and (services.settings.stores.multi_store or metadata.get("store") in services.stores.ids):
        metadata["store"] = store.name
    return {**value, "metadata": metadata}


def _hashes(services: Services, image: Image, entries: Sequence[GivenLocation]) -> KnownHashes:
    algorithm = services.settings.api.hashing_algorithm
    digits = 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
    known = KnownHashes()
    for entry in entries:
        known = known.with_validation(entry.validation, image, algorithm, digits)
    return known


async def _common_size(services: Services, image: Image, added: Sequence[GivenLocation]) -> int | None:
    """The size of the image's data, as every new location has it."""
    common = image.size if image.status == ACTIVE else None
    for entry in added:
        size_bytes = await size_of_new(services, entry.as_record)
        if common is not None and size_bytes != common:
            raise Invalid(f"Invalid location: it has {size_bytes} bytes, but the image has {common}.")
        common = size_bytes
    return common


def _reordered(entries: Sequence[GivenLocation]) -> list[ImageLocation]:
    """All entries with a record, where they stand in another order than their records."""
    kept = [entry.as_record for entry in entries if entry.id is not None]
    ids = [place.id or 0 for place in kept]
    return kept if ids != sorted(ids) else []


def place_of(uri: str, metadata: Mapping[str, Any]) -> ImageLocation:
    """A location that has no record yet."""
    return ImageLocation(uri, metadata)


async def size_of_new(services: Services, place: ImageLocation) -> int:
    """How many bytes lie at a location that is new to us.

    Raises Invalid (a scheme that nobody may name or no store has, refused by the filter, not readable, empty),
    LimitExceeded over the size cap.
    """
    await require_allowed(services, place.uri)
    store = services.stores.owner_of(place.uri, place.metadata.get("store"))
    if store is None:
        raise Invalid("Invalid location: no store here knows such a URL.")
    try:
        size_bytes = await store.size_bytes(Location(store.name, place.uri, place.metadata))
    except StoreError as error:
        raise Invalid(f"Invalid location: {error}") from error
    if size_bytes <= 0:
        raise Invalid("Invalid location: there is no data.")
    cap_bytes = services.settings.quotas.image_size_cap_bytes
    if size_bytes > cap_bytes:
        raise LimitExceeded(f"The data at this location is larger than the {cap_bytes} bytes that are allowed.")
    return size_bytes


async def require_allowed(services: Services, uri: str) -> None:
    """Raises Invalid for a URL that users may not name, or that the filter of URIs refuses. May ask DNS."""
    scheme = scheme_of(uri)
    if scheme in UNTOUCHABLE_SCHEMES:
        raise Invalid(f"Invalid location: URLs of the scheme {scheme} are not for users.")
    if scheme in WEB_SCHEMES:
        await hop(None, require_fetchable, services.settings.imports.uri_filter, uri)


def _updated(known: Sequence[ImageLocation], entries: Sequence[GivenLocation]) -> list[ImageLocation]:
    before = {place.id: dict(place.metadata) for place in known}
    return [entry.as_record for entry in entries if entry.id is not None and entry.metadata != before[entry.id]]


async def register(services: Services, context: RequestContext, image_id: str, new: NewLocation) -> str:
    """Promise to give a queued image its data by a location: a task and a job from now on (POST …/locations).

    Gives the id of both. Raises NotFound, Forbidden, Invalid (refused by the filter), Conflict (not queued, or being
    imported).
    """
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "add_image_location")
    is_service = "service" in context.roles | context.service_roles
    if not is_service:
        _require_web(services, new.url)
        access.require_owner_in_database(context, image)
    if image.status != QUEUED:
        raise Conflict("A location can be added only to a queued image.")
    if scheme_of(new.url) in WEB_SCHEMES:
        await require_allowed(services, new.url)
    wanted = LocationImport.of(services.new_id(), image.id, new)
    task = _task_for(services, context, wanted)
    await services.database.write(location_imports.begin, wanted, task, LOCATION_IMPORT, services.now_ms())
    services.jobs_wanted.set()
    return wanted.task_id


def _require_web(services: Services, url: str) -> None:
    """Users may name places on the web only, and only where there is a store for them."""
    if scheme_of(url) not in WEB_SCHEMES or services.stores.owner_of(url) is None:
        raise Forbidden("Only services may add locations that are not URLs of a configured http store.")


def _task_for(services: Services, context: RequestContext, wanted: LocationImport) -> Task:
    now = services.now()
    return Task(
        id=wanted.task_id,
        type=LOCATION_IMPORT,
        status=PENDING,
        owner=context.project_id or "",
        image_id=wanted.image_id,
        request_id=context.request_id[:64],
        user_id=context.user_id,
        created_at=now,
        updated_at=now,
        input=without_secrets(
            {"image_id": wanted.image_id, "loc_url": wanted.url, "validation_data": wanted.validation_data}
        ),
    )


async def remove_from_store(services: Services, context: RequestContext, store_id: str, image_id: str) -> None:
    """Remove the copy of an active image that one store has, record first, then bytes (DELETE /stores/…; spec §17).

    Raises NotFound (one store without a name, no such image, not in that store), Forbidden (policy; the last copy),
    Conflict (unknown store, not active), DataInUse, StoreUnavailable.
    """
    if not services.settings.stores.multi_store:
        raise NotFound("Deleting from one store is not supported at this site.")
    access.require_writer(context)
    image = await access.load_for(services, context, image_id, "get_image_location")
    await services.policy.require_on_image("delete_image_location", context, image)
    if not services.stores.is_known(store_id):
        raise Conflict(f"There is no store {store_id!r} here.")
    if image.status != ACTIVE:
        raise Conflict(f"The copies of an image in status {image.status} cannot be removed one by one.")
    copies = [place for place in services.stores.ordered(image.locations) if place.metadata.get("store") == store_id]
    if not copies:
        raise NotFound(f"Image {image_id} is not in the store {store_id}.")
    await image_copies.require_unused(services, context, copies)
    writes = LocationWrites(
        added=[],
        removed=copies,
        updated=[],
        reordered=[],
        first_data=None,
        quota=services.settings.quotas.image_location_quota,
        not_before_ms=services.now_ms() + CLAIM_MS,
    )
    for entry in await services.database.write(db_locations.remove, image.id, writes, services.now()):
        await remove_bytes(services, entry, context)


async def list_locations(services: Services, context: RequestContext, image_id: str) -> Sequence[ImageLocation]:
    """Where the image's bytes lie, in the order in which they are read; nothing of what is switched off, except to
    administrators. Raises NotFound, Forbidden."""
    image = await access.load_for(services, context, image_id, "fetch_image_location")
    if image.status == DEACTIVATED and not context.is_admin:
        return ()
    return services.stores.ordered(image.locations)
