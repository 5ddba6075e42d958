"""Uploads that can be taken up again: /v2/images/{image_id}/upload, tus 1.0 (docs/resumable-upload.md)."""

import asyncio
import hashlib
import json
import struct
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, insert, select, update

from blick.conf.settings import QuotaSettings, Settings, StoreSettings
from blick.db.tables import jobs, resumable_uploads, upload_parts
from blick.http.app import App
from blick.model.resumable_upload import MOST_OPEN
from blick.ops.resumable_uploads import housekeeping
from blick.ops.services import Services, epoch_ms, this_process
from blick.ops.uploads_here import UploadsHere
from blick.worker import job_worker
from tests.support.callers import HEADERS, HeaderIdentity
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, PATCH_2_1, Service, running_service
from tests.support.waiting import eventually_here

SPOKEN = {"tus-resumable": "1.0.0"}
PIECE = {**SPOKEN, "content-type": "application/offset+octet-stream"}
DATA = bytes(range(256)) * 20_000
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=["folder", "store"])
def settings(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """What comes lies in a folder of the node's, or in the store that has the images too; there is a second store."""
    other = StoreSettings("other", "file", {"filesystem_store_datadir": str(tmp_path / "other")})
    stores = replace(settings.stores, stores=(*settings.stores.stores, other), multi_store=True)
    shared = "file" if request.param == "store" else None
    imports = replace(settings.imports, staging_dir=tmp_path / "staging", staging_store=shared)
    return replace(settings, stores=stores, imports=imports)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """With somebody who does the jobs."""
    async with running_service(settings) as running:
        worker = asyncio.create_task(job_worker(running.services).run())
        try:
            yield running
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker


class Slow:
    """One PATCH whose body comes when, and as far as, the test lets it."""

    def __init__(self, service: Service, path: str, offset: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {**HEADERS["owner"], **PIECE, "upload-offset": str(offset), "transfer-encoding": "chunked", **named}
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: list[Any] = []
        scope = {
            "type": "http", "method": "PATCH", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in usual.items()], "scheme": "http",
            "root_path": "", "server": ("images.test", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
        }  # fmt: skip
        self._task = asyncio.ensure_future(service.app(scope, self._messages.get, self._keep))  # type: ignore[arg-type]

    async def _keep(self, message: Any) -> None:
        self._sent.append(message)

    def send(self, data: bytes, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def go_away(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def status(self) -> int:
        """That of the answer, once there is one."""
        await self._task
        return int(self._sent[0]["status"])


def later(service: Service, hours: float) -> Services:
    """The services as they are so much later."""
    return replace(service.services, now_ms=lambda: epoch_ms() + int(hours * 3_600_000))


def restarted(service: Service) -> Service:
    """The service as it is for who comes after a restart: nothing is remembered that is not written down."""
    holder = this_process().rpartition("/")[0] + "/0"
    services = replace(service.services, uploads_here=UploadsHere(), holder=holder)
    app = App(services, HeaderIdentity(), {})
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://images.test")
    return Service(services, client, app)


async def source_of_last_job(service: Service, image: dict[str, Any]) -> dict[str, Any]:
    with service.services.database.engine.connect() as connection:
        state = connection.execute(select(jobs.c.state).where(jobs.c.image_id == image["id"])).scalar_one()
    found: dict[str, Any] = json.loads(state)["source"]
    return found


async def begin(
    service: Service, image: dict[str, Any], length: int | None = len(DATA), who: str = "owner", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    size = {} if length is None else {"upload-length": str(length)}
    return await service.call(who, "POST", f"/v2/images/{image['id']}/upload", headers={**SPOKEN, **size, **named})


async def begun(service: Service, image: dict[str, Any], length: int | None = len(DATA), **headers: str) -> str:
    """The path of a new upload."""
    answer = await begin(service, image, length, **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("http://images.test")


async def add(
    service: Service, path: str, offset: int, data: Any, who: str = "owner", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(
        who, "PATCH", path, content=data, headers={**PIECE, "upload-offset": str(offset), **named}
    )


async def head(service: Service, path: str, who: str = "owner") -> httpx.Response:
    return await service.call(who, "HEAD", path, headers=SPOKEN)


async def offset(service: Service, path: str) -> int:
    answer = await head(service, path)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def staged(settings: Settings) -> list[str]:
    """Everything that lies where uploads lie, but for images."""
    folder = settings.imports.staging_dir
    found = [path.name for path in folder.iterdir()] if folder.exists() else []
    if settings.imports.staging_store is not None:
        images = Path(settings.stores.stores[0].options["filesystem_store_datadir"])
        found += [path.name for path in images.iterdir()]
    return sorted(found)


def rows(service: Service) -> tuple[int, int]:
    with service.services.database.engine.connect() as connection:
        uploads = connection.execute(select(func.count()).select_from(resumable_uploads)).scalar_one()
        return uploads, connection.execute(select(func.count()).select_from(upload_parts)).scalar_one()


async def require_image(service: Service, image: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The image is active with exactly this data."""
    shown = await service.show(image["id"])
    assert (shown["status"], shown["size"]) == ("active", len(data))
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    answer = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert answer.content == data
    return shown


@on_every_engine
async def test_in_two_pieces(service: Service, settings: Settings) -> None:
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
    assert [name for name in staged(settings) if name != image["id"]] == []


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
    assert rows(service)[0] == 1


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
    answer = await service.call("owner", "POST", path, headers={**SPOKEN, **named}, content=content)
    assert answer.status_code == 400, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert rows(service) == (0, 0)


async def test_formats_must_be_set(service: Service) -> None:
    for formats in ({"disk_format": None}, {"container_format": None}):
        assert (await begin(service, await service.create(**formats))).status_code == 400
    assert rows(service) == (0, 0)


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
        answers += [await service.call(who, method, path, headers=SPOKEN) for method in ("HEAD", "DELETE")]
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
    assert (await service.call("owner", "DELETE", path, headers=SPOKEN)).status_code == 204
    assert (await begin(service, image)).status_code == 201


async def test_into_another_store(service: Service, settings: Settings) -> None:
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


async def test_content_that_is_not_what_it_claims(service: Service, settings: Settings) -> None:
    """It is refused as soon as it is known, and nothing of it stays."""
    unsafe = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(2 << 20, b"\0")
    image = await service.create(disk_format="qcow2")
    path = await begun(service, image, 10 << 20)
    assert (await add(service, path, 0, unsafe)).status_code == 415
    assert (await head(service, path)).status_code == 404
    assert (rows(service), staged(settings)) == ((0, 0), [])
    assert (await service.show(image["id"]))["status"] == "queued"


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_content_that_is_refused_in_the_end(service: Service, settings: Settings, is_resumed: bool) -> None:
    unsafe = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(4096, b"\0")
    image = await service.create(disk_format="qcow2")
    path = await begun(service, image, len(unsafe))
    assert (await add(service, path, 0, unsafe[:100])).status_code == 204
    last = await add(restarted(service) if is_resumed else service, path, 100, unsafe[100:])
    assert last.status_code == 415, last.text
    assert (await service.show(image["id"]))["status"] == "queued"
    assert staged(settings) == []
    told = await head(service, path)
    assert (told.status_code, "upload-offset" in told.headers) == (410, False)
    again = await begun(service, image, 4)
    assert (await add(service, again, 0, b"data")).status_code == 415
    assert (await service.show(image["id"]))["status"] == "queued"


# Parts in a store


def parts_of(service: Service) -> list[int]:
    """How long the parts are that are recorded."""
    with service.services.database.engine.connect() as connection:
        wanted = select(upload_parts.c.size_bytes).order_by(upload_parts.c.number)
        return list(connection.execute(wanted).scalars())


async def test_in_a_store_an_upload_is_a_few_parts(service: Service, settings: Settings) -> None:
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
    assert staged(settings) == [image["id"]]
    assert rows(service) == (1, 0)


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
    assert staged(settings) == [image["id"]]


# Who has it


@on_every_engine
async def test_a_silent_client_gives_way(service: Service) -> None:
    """One that lost its connection, and comes back before the server knows, goes on with what had come."""
    image = await service.create()
    path = await begun(service, image)
    for again in (head, add):
        there = await offset(service, path)
        slow = Slow(service, path, there)
        slow.send(DATA[there : there + 1000])
        await eventually_here(lambda: bool(service.services.uploads_here.transfers))
        if again is head:
            assert await offset(service, path) == there + 1000
        else:
            assert (await add(service, path, there + 1000, DATA[there + 1000 :])).status_code == 204
        assert await slow.status() == 423
    await require_image(service, image, DATA)


@on_every_engine
async def test_given_up_in_the_middle(service: Service, settings: Settings) -> None:
    image = await service.create()
    path = await begun(service, image)
    slow = Slow(service, path, 0)
    slow.send(DATA[:3_000_000])
    await eventually_here(lambda: bool(service.services.uploads_here.transfers))
    assert (await service.call("owner", "DELETE", path, headers=SPOKEN)).status_code == 204
    assert await slow.status() in (404, 410, 423)
    for answer in (await head(service, path), await add(service, path, 0, b"x")):
        assert answer.status_code == 404
    assert (await service.call("owner", "DELETE", path, headers=SPOKEN)).status_code == 404
    assert (rows(service), staged(settings)) == ((0, 0), [])
    assert (await service.show(image["id"]))["status"] == "queued"


@on_every_engine
async def test_a_dead_one_has_it_no_more(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    dead = this_process().rpartition("/")[0] + "/0"  # a process of our id that started at another time
    with service.services.database.engine.begin() as connection:
        lease = {"token": "t", "holder": dead, "lease_until_ms": epoch_ms() + 3_600_000}
        connection.execute(update(resumable_uploads).values(lease))
    assert (await add(service, path, 0, DATA)).status_code == 204
    await require_image(service, image, DATA)


async def test_the_machine_went_down(service: Service, settings: Settings) -> None:
    """Of what was written after the last answer nobody knows whether it is what was sent."""
    if service.services.staging.is_shared:
        pytest.skip("parts are whole or not there")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.write_bytes(DATA[:1000] + bytes(5000))
    with service.services.database.engine.begin() as connection:
        lease = {"token": "t", "holder": "another boot/x/1/1", "lease_until_ms": 1}
        connection.execute(update(resumable_uploads).values(lease))
    assert await offset(service, path) == 1000
    assert (await add(service, path, 1000, DATA[1000:])).status_code == 204
    await require_image(service, image, DATA)


async def test_the_process_went_down(service: Service, settings: Settings) -> None:
    """What it had written counts, to the byte, although nobody was told."""
    if service.services.staging.is_shared:
        pytest.skip("parts that are not whole are lost")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.write_bytes(DATA[:3_333_333])
    assert await offset(service, path) == 3_333_333
    assert (await add(service, path, 3_333_333, DATA[3_333_333:])).status_code == 204
    await require_image(service, image, DATA)


async def test_the_process_went_down_before_the_end(service: Service, settings: Settings) -> None:
    """Everything had come: who asks finds the image active."""
    if service.services.staging.is_shared:
        pytest.skip("the last part is recorded with its upload")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.write_bytes(DATA)
    assert await offset(service, path) == len(DATA)
    await require_image(service, image, DATA)


async def test_lost_bytes(service: Service, settings: Settings) -> None:
    """Somebody has removed the file: the upload begins anew, and nothing wrong gets into the image."""
    if service.services.staging.is_shared:
        pytest.skip("only a folder")
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:1000])).status_code == 204
    (file,) = settings.imports.staging_dir.iterdir()
    file.unlink()
    settings.imports.staging_dir.rmdir()
    assert await offset(service, path) == 0
    assert (await add(service, path, 1000, DATA[1000:])).status_code == 409
    assert (await add(service, path, 0, DATA)).status_code == 204
    await require_image(service, image, DATA)


# The end


@on_every_engine
async def test_two_uploads_and_one_image(service: Service, settings: Settings) -> None:
    """The first that is complete wins; the other hears of it, and goes."""
    image = await service.create()
    first, second = await begun(service, image), await begun(service, image)
    assert (await add(service, first, 0, DATA[:100])).status_code == 204
    assert (await add(service, second, 0, DATA)).status_code == 204
    await require_image(service, image, DATA)
    assert (await add(service, first, 100, DATA[100:])).status_code == 409
    assert await housekeeping.expire(service.services) == 1
    assert (await head(service, first)).status_code == 404
    assert [name for name in staged(settings) if name != image["id"]] == []


async def test_the_data_came_otherwise(service: Service, settings: Settings) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    put = await service.call("owner", "PUT", f"/v2/images/{image['id']}/file", content=b"other", headers=OCTETS)
    assert put.status_code == 204
    assert (await add(service, path, 100, b"x")).status_code == 409
    await housekeeping.expire(service.services)
    assert rows(service) == (0, 0)
    assert [name for name in staged(settings) if name != image["id"]] == []


@on_every_engine
async def test_the_image_is_deleted(service: Service, settings: Settings) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    assert (await head(service, path)).status_code == 404
    assert await housekeeping.expire(service.services) == 1
    assert (rows(service), staged(settings)) == ((0, 0), [])


@on_every_engine
async def test_an_upload_that_rests_too_long(service: Service, settings: Settings) -> None:
    image = await service.create()
    path, finished = await begun(service, image), await begun(service, image, 4)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    ttl_h = settings.imports.upload_ttl_h
    assert await housekeeping.expire(later(service, ttl_h - 0.1)) == 0
    late = replace(restarted(service), app=App(later(service, ttl_h + 0.1), HeaderIdentity(), {}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(late.app), base_url="http://images.test") as client:
        answer = await client.patch(path, content=b"x", headers={**HEADERS["owner"], **PIECE, "upload-offset": "100"})
        assert answer.status_code == 410
    assert await housekeeping.expire(later(service, ttl_h + 0.1)) == 2
    for gone in (path, finished):
        assert (await head(service, gone)).status_code == 404
    assert (rows(service), staged(settings)) == ((0, 0), [])


async def test_a_finished_one_is_forgotten_in_time(service: Service, settings: Settings) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA)).status_code == 204
    assert (await add(service, path, len(DATA), b"")).status_code == 204, "said twice"
    assert (await add(service, path, 0, b"x")).status_code == 409
    assert await housekeeping.expire(service.services) == 0
    assert await housekeeping.expire(later(service, settings.imports.upload_ttl_h + 0.1)) == 1
    assert rows(service) == (0, 0)
    await require_image(service, image, DATA)


async def test_a_finished_one_may_be_terminated(service: Service) -> None:
    image = await service.create()
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA)).status_code == 204
    assert (await service.call("owner", "DELETE", path, headers=SPOKEN)).status_code == 204
    assert (await head(service, path)).status_code == 404
    await require_image(service, image, DATA)


@on_every_engine
async def test_who_finishes_dies(service: Service, settings: Settings) -> None:
    """From its last piece on the upload is a job's, and needs no client."""
    async with running_service(settings) as idle:  # nobody does jobs here
        image = await idle.create()
        path = await begun(idle, image)
        last = asyncio.ensure_future(add(idle, path, 0, DATA))
        while (await idle.show(image["id"]))["status"] != "saving":
            await asyncio.sleep(0.01)
        answer = await idle.call("owner", "DELETE", path, headers=SPOKEN)
        assert answer.status_code == 409
        last.cancel()
        with suppress(asyncio.CancelledError):
            await last
        assert await job_worker(idle.services).work_off() == 1
        await require_image(idle, image, DATA)
        assert await housekeeping.expire(idle.services) == 1
        assert await offset(idle, path) == len(DATA)
        assert [name for name in staged(settings) if name != image["id"]] == []


async def test_formats_changed_meanwhile(service: Service) -> None:
    """The data is judged by what the image is when it is complete."""
    image = await service.create(disk_format="raw")
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    change = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
    changed = await service.call("owner", "PATCH", f"/v2/images/{image['id']}", json=change, headers=PATCH_2_1)
    assert changed.status_code == 200
    assert (await add(service, path, 100, DATA[100:])).status_code == 415
    assert (await service.show(image["id"]))["status"] == "queued"


async def test_formats_put_right_meanwhile(service: Service) -> None:
    """What is judged early is judged by what the image is at that time."""
    image = await service.create(disk_format="qcow2")
    path = await begun(service, image)
    assert (await add(service, path, 0, DATA[:100])).status_code == 204
    change = [{"op": "replace", "path": "/disk_format", "value": "raw"}]
    changed = await service.call("owner", "PATCH", f"/v2/images/{image['id']}", json=change, headers=PATCH_2_1)
    assert changed.status_code == 200
    assert (await add(service, path, 100, DATA[100:])).status_code == 204
    await require_image(service, image, DATA)


@pytest.mark.parametrize("is_active", [True, False])
async def test_a_job_that_is_forgotten(service: Service, is_active: bool) -> None:
    data = bytes(5000)
    image = await service.create(disk_format="raw" if is_active else "qcow2")
    path = await begun(service, image, len(data))
    assert (await add(service, path, 0, data[:10])).status_code == 204
    last = await add(service, path, 10, data[10:])
    with service.services.database.engine.begin() as connection:
        connection.execute(delete(jobs))
    told = await head(service, path)
    assert (last.status_code, told.status_code) == ((204, 200) if is_active else (415, 410))


# Parts that come side by side


async def partials(service: Service, image: dict[str, Any], *pieces: bytes) -> list[str]:
    """Uploads of these pieces, sent at once."""
    paths = [await begun(service, image, len(piece), upload_concat="partial") for piece in pieces]
    answers = await asyncio.gather(*(add(service, path, 0, piece) for path, piece in zip(paths, pieces, strict=True)))
    assert {answer.status_code for answer in answers} == {204}
    return paths


@on_every_engine
async def test_concatenation(service: Service, settings: Settings) -> None:
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
    assert [name for name in staged(settings) if name != image["id"]] == []


@on_every_engine
async def test_concatenation_that_is_refused(service: Service, settings: Settings) -> None:
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


async def test_concatenated_content_is_judged(service: Service, settings: Settings) -> None:
    unsafe = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(4096, b"\0")
    image = await service.create(disk_format="qcow2")
    paths = await partials(service, image, unsafe[:1000], unsafe[1000:])
    answer = await begin(service, image, None, upload_concat=f"final;{' '.join(paths)}")
    assert answer.status_code == 415, answer.text
    assert (await service.show(image["id"]))["status"] == "queued"
    assert staged(settings) == []


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
    meant = {**SPOKEN, "x-http-method-override": "HEAD"}
    assert (await service.call("owner", "GET", path, headers=meant)).headers["upload-offset"] == "100"
    meant = {**SPOKEN, "x-http-method-override": "delete"}
    assert (await service.call("owner", "POST", path, headers=meant)).status_code == 204
    assert (await head(service, path)).status_code == 404
    shown = await service.call(
        "owner", "GET", f"/v2/images/{image['id']}", headers={"x-http-method-override": "DELETE"}
    )
    assert shown.status_code == 200, "elsewhere the method is the method"
