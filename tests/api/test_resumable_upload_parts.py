"""Parts of uploads, kept one by one in a store, or sent side by side (docs/resumable-upload.md)."""

import asyncio
import struct
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from blick.conf.settings import Settings
from blick.db.tables import upload_parts
from tests.support.databases import on_every_engine
from tests.support.service import Service
from tests.support.staged import staged_files, staging_at
from tests.support.tus import DATA, add, begin, begun, head, offset, recorded, require_image, restarted

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    return staging_at(settings, staging_place)


# Parts in a store


def parts_of(service: Service) -> list[int]:
    """How long the parts are that are recorded."""
    with service.services.database.engine.connect() as connection:
        wanted = select(upload_parts.c.size_bytes).order_by(upload_parts.c.number)
        return list(connection.execute(wanted).scalars())


async def test_in_a_store_an_upload_is_a_few_parts(service: Service) -> None:
    """However it was cut: long pieces become several, short ones one."""
    if not service.services.staging.is_shared:
        pytest.skip("in a folder it is one file")
    mib = 1 << 20
    data = DATA[:1000] * 80_000
    image = await service.create()
    path = await begun(service, image, len(data))
    assert (await add(service, path, 0, data[: 65 * mib])).status_code == 204
    assert parts_of(service) == [32 * mib, 32 * mib, mib]
    there = 65 * mib
    for _ in range(9):
        assert (await add(service, path, there, data[there : there + mib])).status_code == 204
        there += mib
    # The last one is written anew until it is 4 MiB long.
    assert parts_of(service) == [32 * mib, 32 * mib, 4 * mib, 4 * mib, 2 * mib]
    assert (await add(restarted(service), path, there, data[there:])).status_code == 204
    await require_image(service, image, data)
    assert staged_files(service) == [image["id"]]
    assert recorded(service) == (1, 0)


async def test_a_part_that_was_begun(service: Service, settings: Settings) -> None:
    """Its writer died: what it left is removed by whoever goes on."""
    if not service.services.staging.is_shared:
        pytest.skip("in a folder it is one file")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    upload_id, key = path.rpartition("/")[2], "11111111-2222-4333-8444-555555555555"
    with service.services.database.engine.begin() as connection:
        begun_part = {"upload_id": upload_id, "number": 1, "store": "file", "object_key": key, "uri": ""}
        connection.execute(insert(upload_parts), {**begun_part, "meta_data": "{}", "size_bytes": 0})
    images = Path(settings.stores.stores[0].options["filesystem_store_datadir"])
    (images / key).write_bytes(b"left")
    (images / f".blick-{key}.part").write_bytes(b"left")
    assert await offset(service, path) == 1000
    assert (await add(service, path, 1000, DATA[1000:])).status_code == 204
    await require_image(service, image, DATA)
    assert staged_files(service) == [image["id"]]


# Parts that come side by side


async def partials(service: Service, image: dict[str, Any], *pieces: bytes) -> list[str]:
    """Uploads of these pieces, sent at once."""
    paths = [await begun(service, image, len(piece), upload_concat="partial") for piece in pieces]
    answers = await asyncio.gather(*(add(service, path, 0, piece) for path, piece in zip(paths, pieces, strict=True)))
    assert {answer.status_code for answer in answers} == {204}
    return paths


@on_every_engine
async def test_concatenation(service: Service) -> None:
    image = await service.create()
    paths = await partials(service, image, DATA[3_000_000:], DATA[:1_000_000], DATA[1_000_000:3_000_000], b"")
    assert (await service.show(image["id"]))["status"] == "queued"
    told = await head(service, paths[0])
    assert (told.headers["upload-concat"], told.headers["upload-offset"]) == ("partial", str(len(DATA) - 3_000_000))
    order = [paths[1], f"http://images.test{paths[2]}", paths[0], paths[3]]
    answer = await begin(service, image, None, upload_concat=f"final;{' '.join(order)}")
    assert answer.status_code == 201, answer.text
    await require_image(service, image, DATA)
    final = answer.headers["location"].removeprefix("http://images.test")
    told = await head(service, final)
    assert told.headers["upload-concat"] == f"final;{' '.join(order)}"
    assert told.headers["upload-offset"] == told.headers["upload-length"] == str(len(DATA))
    assert (await add(service, final, 0, b"x")).status_code == 403
    for path in paths:
        assert (await head(service, path)).status_code == 404
    again = await begin(service, image, None, upload_concat=f"final;{' '.join(order)}")
    assert (again.status_code, again.headers["location"]) == (201, answer.headers["location"]), "said twice"
    assert [name for name in staged_files(service) if name != image["id"]] == []


@on_every_engine
async def test_concatenation_that_is_refused(service: Service) -> None:
    image, other = await service.create(), await service.create()
    (whole,) = await partials(service, image, DATA[:100])
    (foreign,) = await partials(service, other, DATA[:100])
    unfinished = await begun(service, image, 100, upload_concat="partial")
    deferred = await begun(service, image, None, upload_concat="partial", upload_defer_length="1")
    plain = await begun(service, image, 100)
    for parts in ([whole, unfinished], [whole, deferred], [whole, plain], [foreign], [whole, whole], [whole, "/x"]):
        answer = await begin(service, image, None, upload_concat=f"final;{' '.join(parts)}")
        assert answer.status_code == 400, (parts, answer.text)
    assert (await service.show(image["id"]))["status"] == "queued"
    assert await offset(service, whole) == 100
    assert (await begin(service, image, None, upload_concat=f"final;{whole}")).status_code == 201
    await require_image(service, image, DATA[:100])
    assert (await begin(service, image, None, upload_concat=f"final;{unfinished}")).status_code in (400, 409)


async def test_concatenated_content_is_judged(service: Service) -> None:
    unsafe = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(4096, b"\0")
    image = await service.create(disk_format="qcow2")
    paths = await partials(service, image, unsafe[:1000], unsafe[1000:])
    answer = await begin(service, image, None, upload_concat=f"final;{' '.join(paths)}")
    assert answer.status_code == 415, answer.text
    assert (await service.show(image["id"]))["status"] == "queued"
    assert staged_files(service) == []
