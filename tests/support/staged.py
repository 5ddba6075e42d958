"""Data that is staged, in a folder of the node's or in a store: how it comes there, and what lies there."""

from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from blick.conf.settings import Settings
from blick.db import staging as db_staging
from blick.db import tables, uploads
from blick.db.staging import StagedRow
from blick.db.uploads import Lease
from blick.model.blob import Location
from blick.model.image import UPLOADING
from blick.ops import staging
from blick.stores.file.partial import partial_name
from tests.support.service import OCTETS, Service


def staging_at(settings: Settings, place: str) -> Settings:
    """`place` is "folder", or "store": the one that has the images."""
    if place == "folder":
        return settings
    stores = replace(settings.stores, multi_store=True)
    return replace(settings, stores=stores, imports=replace(settings.imports, staging_store="file"))


async def stage(service: Service, image_id: str, content: Any, who: str = "owner", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(who, "PUT", f"/v2/images/{image_id}/stage", content=content, headers=OCTETS | named)


async def staged(service: Service, content: Any = b"data", **body: Any) -> str:
    """The id of a new image with staged data."""
    image_id = str((await service.create(**body))["id"])
    response = await stage(service, image_id, content)
    assert response.status_code == 204, response.text
    return image_id


async def staged_bytes(service: Service, image_id: str) -> bytes | None:
    """What an import would find."""
    found = await staging.find(service.services, image_id)
    if found is None:
        return None
    store = staging.store_of(service.services, found.location)
    async with aclosing(store.read(found.location)) as pieces:
        data = b"".join([bytes(piece) async for piece in pieces])
    assert len(data) == found.size_bytes
    return data


def staging_folder(service: Service) -> Path:
    return service.services.settings.imports.staging_dir


def staged_files(service: Service) -> list[str]:
    """Names of everything that lies where data is staged; in a store that is everything in it, images too."""
    folder = staging_folder(service)
    found = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    return sorted([*found, *service.stored_files] if service.services.staging.is_shared else found)


async def require_untouched(service: Service, image_id: str) -> None:
    """Queued as if nothing had ever been sent, and nothing left."""
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    assert staged_files(service) == []
    assert await staged_bytes(service, image_id) is None
    assert (service.count(tables.leases), service.count(tables.staged_data)) == (0, 0)


async def broken_off(service: Service, *, whole: bool) -> str:
    """An image as staging leaves it whose process was killed, before or after the last byte."""
    image_id = str((await service.create())["id"])
    lease = Lease(image_id, service.services.new_token(), service.dead_holder, staging.LEASED, 2**52)
    await service.services.database.write(uploads.begin, lease, service.services.now(), None, UPLOADING)
    key, place = image_id, staging_folder(service)
    if service.services.staging.is_shared:
        key = service.services.staging.key(f"{image_id}.x")
        place = Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])
        row = StagedRow(image_id, "file", key)
        await service.services.database.write(db_staging.begin, row)
        if whole:
            location = Location("file", f"file://{place}/{key}")
            await service.services.database.write(db_staging.finish, row, location, 10)
    (place / (key if whole else partial_name(key))).write_bytes(b"half of it")
    return image_id
