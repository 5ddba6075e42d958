"""Uploads that can be taken up again: /v2/images/{image_id}/upload, tus 1.0 (docs/resumable-upload.md)."""

import hashlib
import json
import struct
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from blick.conf.settings import QuotaSettings, Settings, StoreSettings
from blick.db.tables import jobs, resumable_uploads
from blick.model.resumable_upload import MOST_OPEN
from tests.support.databases import on_every_engine
from tests.support.service import Service, running_service
from tests.support.staged import staged_files, staging_at
from tests.support.tus import (
    DATA,
    PIECE,
    TUS,
    Slow,
    add,
    begin,
    begun,
    head,
    offset,
    recorded,
    require_image,
    restarted,
)

pytestmark = pytest.mark.usefixtures("worker")

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def settings(settings: Settings, staging_place: str, tmp_path: Path) -> Settings:
    """There is a second store."""
    other = StoreSettings("other", "file", {"filesystem_store_datadir": str(tmp_path / "other")})
    stores = replace(settings.stores, stores=(*settings.stores.stores, other), multi_store=True)
    return staging_at(replace(settings, stores=stores), staging_place)


async def source_of_last_job(service: Service, image: dict[str, Any]) -> dict[str, Any]:
    with service.services.database.engine.connect() as connection:
        state = connection.execute(select(jobs.c.state).where(jobs.c.image_id == image["id"])).scalar_one()
    found: dict[str, Any] = json.loads(state)["source"]
    return found


@on_every_engine
async def test_in_two_pieces(service: Service) -> None:
    image = await service.create()
    answer = await begin(service, image)
    assert answer.status_code == 201
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert parsedate_to_datetime(answer.headers["upload-expires"]).timestamp() * 1000 > service.services.now_ms()
    path = answer.headers["location"].removeprefix("http://images.test")
    assert await offset(service, path) == 0
    answer = await add(service, path, 0, DATA[:1_000_000])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "1000000"), answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert "upload-expires" in answer.headers
    assert (await service.show(image["id"]))["status"] == "queued"
    told = await head(service, path)
    assert told.headers["upload-offset"] == "1000000"
    assert told.headers["upload-length"] == str(len(DATA))
    assert told.headers["cache-control"] == "no-store"
    assert told.headers["tus-resumable"] == "1.0.0"
    answer = await add(service, path, 1_000_000, DATA[1_000_000:])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(DATA))), answer.text
    shown = await require_image(service, image, DATA)
    assert shown["stores"] == "file"
    assert await offset(service, path) == len(DATA), "for clients that did not hear the last answer"
    assert [name for name in staged_files(service) if name != image["id"]] == []


async def test_one_request_of_any_framing(service: Service) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 300_000):
            yield DATA[start : start + 300_000]

    for body in (DATA, pieces()):
        image = await service.create()
        path = await begun(service, image)
        answer = await add(service, path, 0, body)
        assert answer.status_code == 204, answer.text
        await require_image(service, image, DATA)


async def test_many_small_pieces(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    step = len(DATA) // 37
    for start in range(0, len(DATA), step):
        answer = await add(service, path, start, DATA[start : start + step])
        assert answer.status_code == 204, answer.text
    await require_image(service, image, DATA)


# Creation


async def test_which_version(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    for spoken in ({}, {"tus-resumable": "0.2.2"}, {"tus-resumable": ""}):
        for method, where in (
            ("POST", f"/v2/images/{image['id']}/upload"),
            ("HEAD", path),
            ("PATCH", path),
            ("DELETE", path),
        ):
            headers = {**PIECE, "upload-length": "5", "upload-offset": "0"} | {"tus-resumable": "1.0.0"}
            del headers["tus-resumable"]
            content = b"x" if method == "PATCH" else None
            answer = await service.call("owner", method, where, content=content, headers={**headers, **spoken})
            assert answer.status_code == 412, (method, spoken)
            assert (answer.headers["tus-version"], answer.headers["tus-resumable"]) == ("1.0.0", "1.0.0")
    assert await offset(service, path) == 0
    assert recorded(service)[0] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload-length": "-1"},
        {"upload-length": "1.5"},
        {"upload-length": "x"},
        {"upload-length": ""},
        {"upload-length": "9" * 30},
        {"upload-length": "5", "upload-defer-length": "1"},
        {"upload-defer-length": "0"},
        {"upload-length": "5", "upload-metadata": "name =="},
        {"upload-length": "5", "upload-metadata": "name !!!"},
        {"upload-length": "5", "upload-metadata": "name,name"},
        {"upload-length": "5", "upload-metadata": " ,"},
        {"upload-length": "5", "upload-metadata": "x " + "A" * 20_000},
        {"upload-length": "5", "upload-concat": "whole"},
        {"upload-concat": "final"},
        {"upload-concat": "final;"},
        {"upload-concat": "final;/a /a"},
        {"upload-concat": "final;/a", "upload-length": "5"},
        {"upload-concat": "final;/a", "upload-defer-length": "1"},
        {"upload-concat": "final;" + "/x " * 20_000},
        {"upload-concat": f"final;{UNKNOWN}"},
        {"upload-length": "5", "x-image-meta-store": "nowhere"},
        {"upload-length": "5", "upload-metadata": f"store {b64encode(b'nowhere').decode()}"},
        {"upload-length": "5", "content-type": PIECE["content-type"], "upload-checksum": "sha3 AA==", "content": "x"},
    ],
    ids=str,
)
async def test_what_makes_no_sense(service: Service, headers: dict[str, str]) -> None:
    image = await service.create()
    content = headers.get("content", "").encode() or None
    named = {name: value for name, value in headers.items() if name != "content"}
    path = f"/v2/images/{image['id']}/upload"
    answer = await service.call("owner", "POST", path, headers={**TUS, **named}, content=content)
    assert answer.status_code == 400, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert recorded(service) == (0, 0)


async def test_formats_must_be_set(service: Service) -> None:
    for formats in ({"disk_format": None}, {"container_format": None}):
        assert (await begin(service, await service.create(**formats))).status_code == 400
    assert recorded(service) == (0, 0)


async def test_only_while_queued(service: Service) -> None:
    image = await service.create_active(b"data")
    assert (await begin(service, image)).status_code == 409
    assert (await begin(service, {"id": UNKNOWN})).status_code == 404


@pytest.mark.parametrize("visibility", ["private", "community"])
async def test_who_may(service: Service, visibility: str) -> None:
    image = await service.create(visibility=visibility)
    path = await begun(service, image)
    hidden = 403 if visibility == "community" else 404
    for who, status in (
        ("other", hidden),
        ("stranger", hidden),
        ("reader", 403),
        ("roleless", 403),
        ("anonymous", 401),
    ):
        expected = hidden if who == "roleless" and visibility == "private" else status
        answers = [await begin(service, image, who=who), await add(service, path, 0, b"x", who)]
        answers += [await service.call(who, method, path, headers=TUS) for method in ("HEAD", "DELETE")]
        found = {answer.status_code for answer in answers}
        assert found <= {expected, 404}, (who, found)
        assert all(answer.headers["tus-resumable"] == "1.0.0" for answer in answers)
    assert await offset(service, path) == 0
    assert (await add(service, path, 0, b"x", "admin")).status_code == 204
    assert await offset(service, path) == 1


async def test_too_large(service: Service, settings: Settings) -> None:
    quotas = replace(settings.quotas, image_size_cap_bytes=1000)
    async with running_service(replace(settings, quotas=quotas)) as small:
        image = await small.create()
        answer = await begin(small, image, 1001)
        assert (answer.status_code, answer.headers["tus-max-size"]) == (413, "1000")
        assert (await begin(small, image, 1000)).status_code == 201
        deferred = await begun(small, image, None, upload_defer_length="1")
        assert (await add(small, deferred, 0, b"x" * 1001)).status_code == 413
        assert (await add(small, deferred, 0, b"x", upload_length="1001")).status_code == 413
        assert await offset(small, deferred) == 0
        parts = [await begun(small, image, 600, upload_concat="partial") for _ in range(2)]
        for part in parts:
            assert (await add(small, part, 0, b"x" * 600)).status_code == 204
        answer = await begin(small, image, None, upload_concat=f"final;{' '.join(parts)}")
        assert answer.status_code == 413


@on_every_engine
async def test_the_owners_quota(service: Service, settings: Settings) -> None:
    quotas = QuotaSettings(user_storage_quota_bytes=1000)
    async with running_service(replace(settings, quotas=quotas)) as limited:
        image = await limited.create()
        assert (await begin(limited, image, 1001)).status_code == 413
        path = await begun(limited, image, 1000)
        assert (await add(limited, path, 0, b"x" * 300)).status_code == 204
        another = await limited.create()
        answer = await begin(limited, another, 701)
        assert answer.status_code == 413, "what lies in unfinished uploads counts"
        assert "user_storage_quota" in answer.text
        assert (await begin(limited, another, 700)).status_code == 201
        deferred = await begun(limited, another, None, upload_defer_length="1")
        assert (await add(limited, deferred, 0, b"x" * 701)).status_code == 413
        assert (await add(limited, deferred, 0, b"x" * 100)).status_code == 204


@on_every_engine
async def test_not_too_many(service: Service) -> None:
    image = await service.create()
    for _ in range(MOST_OPEN):
        path = await begun(service, image)
    assert (await begin(service, image)).status_code == 413
    assert (await service.call("owner", "DELETE", path, headers=TUS)).status_code == 204
    assert (await begin(service, image)).status_code == 201


async def test_into_another_store(service: Service) -> None:
    named = b64encode(b"other").decode()
    for headers in ({"x_image_meta_store": "other"}, {"upload_metadata": f"filename eA==,store {named},empty"}):
        image = await service.create()
        path = await begun(service, image, 4, **headers)
        told = await head(service, path)
        assert told.headers.get("upload-metadata") == headers.get("upload_metadata")
        assert (await add(service, path, 0, b"data")).status_code == 204
        assert (await require_image(service, image, b"data"))["stores"] == "other"


async def test_an_empty_one(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image, 0)
    shown = await require_image(service, image, b"")
    assert shown["virtual_size"] is None
    assert await offset(service, path) == 0


async def test_with_the_first_piece(service: Service) -> None:
    for sent in (DATA[:100], DATA):
        image = await service.create()
        headers = {**PIECE, "upload-length": str(len(DATA))}
        where = f"/v2/images/{image['id']}/upload"
        answer = await service.call("owner", "POST", where, content=sent, headers=headers)
        assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(len(sent))), answer.text
        path = answer.headers["location"].removeprefix("http://images.test")
        assert await offset(service, path) == len(sent)
    await require_image(service, image, DATA)


@on_every_engine
async def test_of_a_length_that_is_told_later(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image, None, upload_defer_length="1")
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    told = await head(service, path)
    assert (told.headers["upload-defer-length"], "upload-length" in told.headers) == ("1", False)
    assert (await add(service, path, 100, b"x", upload_length="99")).status_code == 400
    assert (await add(service, path, 100, DATA[100:200], upload_length=str(len(DATA)))).status_code == 204
    told = await head(service, path)
    assert (told.headers["upload-length"], "upload-defer-length" in told.headers) == (str(len(DATA)), False)
    assert (await add(service, path, 200, b"x", upload_length="300")).status_code == 400, "once only"
    assert (await add(service, path, 200, DATA[200:])).status_code == 204
    await require_image(service, image, DATA)


async def test_a_length_that_is_told_last(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image, None, upload_defer_length="1")
    assert (await add(service, path, 0, DATA)).status_code == 204
    assert (await service.show(image["id"]))["status"] == "queued"
    assert (await add(service, path, len(DATA), b"", upload_length=str(len(DATA)))).status_code == 204
    await require_image(service, image, DATA)


# Pieces


async def test_pieces_that_are_refused(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:10])).status_code == 204
    refused = [
        (await add(service, path, 10, b"x", content_type="application/octet-stream"), 415),
        (await add(service, path, 9, b"x"), 409),
        (await add(service, path, 11, b"x"), 409),
        (await add(service, path, 10, b"x", upload_offset="-1"), 400),
        (await add(service, path, 10, b"x", upload_offset=""), 400),
        (await service.call("owner", "PATCH", path, content=b"x", headers=PIECE), 400),
        (await add(service, path, 10, b"x", upload_checksum="sha3 AA=="), 400),
        (await add(service, path, 10, b"x", upload_checksum="sha1"), 400),
        (await add(service, path, 10, b"x", upload_checksum="sha1 %"), 400),
        (await add(service, path, 10, DATA[9:]), 413),
        (await add(service, path.rpartition("/")[0] + f"/{UNKNOWN}", 10, b"x"), 404),
        (await add(service, path.rpartition("/")[0] + "/x%00", 10, b"x"), 400),
    ]
    for answer, status in refused:
        assert answer.status_code == status, answer.text
        assert answer.headers["tus-resumable"] == "1.0.0"
    assert await offset(service, path) == 10
    other = await service.create()
    elsewhere = path.replace(image["id"], other["id"])
    assert (await add(service, elsewhere, 10, b"x")).status_code == 404, "it is another image's"


async def test_longer_than_announced(service: Service) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        yield b"too much"

    image = await service.create()
    path = await begun(service, image, 1000)
    assert (await add(service, path, 0, pieces())).status_code == 413
    assert await offset(service, path) <= 1000
    assert (await service.show(image["id"]))["status"] in ("queued", "active")


@on_every_engine
async def test_a_piece_that_breaks_off(service: Service) -> None:
    """What came is kept, to the byte; and the hashes go on from there."""
    image = await service.create()
    path = await begun(service, image)
    slow = Slow(service, path, 0)
    slow.send(DATA[:3_000_001])
    slow.send(DATA[3_000_001:3_000_004])
    slow.go_away()
    assert await slow.status() == 400
    assert await offset(service, path) == 3_000_004
    assert (await add(service, path, 3_000_004, DATA[3_000_004:])).status_code == 204
    await require_image(service, image, DATA)
    assert (await source_of_last_job(service, image))["digests"]["os_hash_value"] == hashlib.sha512(DATA).hexdigest()


async def test_after_a_restart(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:2_000_000])).status_code == 204
    successor = restarted(service)
    assert await offset(successor, path) == 2_000_000
    assert (await add(successor, path, 2_000_000, DATA[2_000_000:])).status_code == 204
    await require_image(service, image, DATA)
    assert (await source_of_last_job(service, image))["digests"] is None, "they are read again"


CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "md5": lambda data: hashlib.md5(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


def checksum(algorithm: str, data: bytes) -> str:
    return f"{algorithm} {b64encode(CHECKSUMS[algorithm](data)).decode()}"


@pytest.mark.parametrize("algorithm", CHECKSUMS)
async def test_checksums(service: Service, algorithm: str) -> None:
    image = await service.create()
    path = await begun(service, image)
    first, rest = DATA[:3_000_000], DATA[3_000_000:]
    answer = await add(service, path, 0, first, upload_checksum=checksum(algorithm, rest))
    assert answer.status_code == 460
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert await offset(service, path) == 0
    assert (await add(service, path, 0, first, upload_checksum=checksum(algorithm, first))).status_code == 204
    assert (await add(service, path, len(first), rest, upload_checksum=checksum(algorithm, first))).status_code == 460
    assert await offset(service, path) == len(first)
    assert (await add(service, path, len(first), rest, upload_checksum=checksum(algorithm, rest))).status_code == 204
    await require_image(service, image, DATA)
    assert (await source_of_last_job(service, image))["digests"] is not None, "nothing had to be read again"


async def test_a_piece_with_a_checksum_that_breaks_off(service: Service) -> None:
    """It cannot be compared, so it does not count."""
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    slow = Slow(service, path, 100, upload_checksum=checksum("sha1", DATA[100:]))
    slow.send(DATA[100:4_000_000])
    slow.go_away()
    assert await slow.status() == 400
    assert await offset(service, path) == 100
    answer = await add(service, path, 100, DATA[100:], upload_checksum=checksum("sha1", DATA[100:]))
    assert answer.status_code == 204
    await require_image(service, image, DATA)


@on_every_engine
async def test_a_piece_with_a_checksum_whose_server_dies(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:3_000_000])).status_code == 204
    with service.services.database.engine.begin() as connection:
        died = {"unverified_from_bytes": 100, "token": "t", "holder": "gone/x/1/1", "lease_until_ms": 1}
        if service.services.staging.is_shared:
            died["unverified_from_bytes"] = 0  # parts are cut where one begins
        connection.execute(update(resumable_uploads).values(died))
    valid = 0 if service.services.staging.is_shared else 100
    assert await offset(service, path) == valid
    assert (await add(service, path, valid, DATA[valid:])).status_code == 204
    await require_image(service, image, DATA)


async def test_content_that_is_not_what_it_claims(service: Service) -> None:
    """It is refused as soon as it is known, and nothing of it stays."""
    unsafe = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(2 << 20, b"\0")
    image = await service.create(disk_format="qcow2")
    path = await begun(service, image, 10 << 20)
    assert (await add(service, path, 0, unsafe)).status_code == 415
    assert (await head(service, path)).status_code == 404
    assert (recorded(service), staged_files(service)) == ((0, 0), [])
    assert (await service.show(image["id"]))["status"] == "queued"


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_content_that_is_refused_in_the_end(service: Service, is_resumed: bool) -> None:
    unsafe = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(4096, b"\0")
    image = await service.create(disk_format="qcow2")
    path = await begun(service, image, len(unsafe))
    assert (await add(service, path, 0, unsafe[:100])).status_code == 204
    last = await add(restarted(service) if is_resumed else service, path, 100, unsafe[100:])
    assert last.status_code == 415, last.text
    assert (await service.show(image["id"]))["status"] == "queued"
    assert staged_files(service) == []
    told = await head(service, path)
    assert (told.status_code, "upload-offset" in told.headers) == (410, False)
    again = await begun(service, image, 4)
    assert (await add(service, again, 0, b"data")).status_code == 415
    assert (await service.show(image["id"]))["status"] == "queued"


# The protocol's edges


async def test_options(service: Service, settings: Settings) -> None:
    for path in (f"/v2/images/{UNKNOWN}/upload", f"/v2/images/{UNKNOWN}/upload/x", f"/v2.3/images/{UNKNOWN}/upload"):
        answer = await service.call("anonymous", "OPTIONS", path)
        assert answer.status_code == 200
        assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
        assert answer.headers["tus-max-size"] == str(settings.quotas.image_size_cap_bytes)
        assert "concatenation" in answer.headers["tus-extension"].split(",")
        assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")
    for path in ("/v2/images", f"/v2/images/{UNKNOWN}/file", "/"):
        assert "tus-version" not in (await service.call("anonymous", "OPTIONS", path)).headers


async def test_clients_that_know_few_methods(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    meant = {**PIECE, "upload-offset": "0", "x-http-method-override": "PATCH"}
    assert (await service.call("owner", "POST", path, content=DATA[:100], headers=meant)).status_code == 204
    meant = {**TUS, "x-http-method-override": "HEAD"}
    assert (await service.call("owner", "GET", path, headers=meant)).headers["upload-offset"] == "100"
    meant = {**TUS, "x-http-method-override": "delete"}
    assert (await service.call("owner", "POST", path, headers=meant)).status_code == 204
    assert (await head(service, path)).status_code == 404
    shown = await service.call(
        "owner", "GET", f"/v2/images/{image['id']}", headers={"x-http-method-override": "DELETE"}
    )
    assert shown.status_code == 200, "elsewhere the method is the method"
