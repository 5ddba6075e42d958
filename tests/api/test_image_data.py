"""PUT and GET of /v2/images/{image_id}/file (spec: images-api §10)."""

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from blick.conf.settings import QuotaSettings, Settings, StoreSettings
from blick.db.tables import image_locations, images, leases
from tests.support.bodies import in_pieces
from tests.support.callers import HEADERS
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, Service

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"
DATA = bytes(range(256)) * 5000  # more than one buffer
QCOW2_WITH_BACKING_FILE = struct.pack(">4sIQI", b"QFI\xfb", 3, 1024, 4).ljust(4096, b"\0")


async def put(service: Service, image_id: str, content: Any, who: str = "owner", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(who, "PUT", f"/v2/images/{image_id}/file", content=content, headers=OCTETS | named)


async def get(service: Service, image_id: str, who: str = "owner", query: str = "", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(who, "GET", f"/v2/images/{image_id}/file{query}", headers=named)


async def require_untouched(service: Service, image_id: str) -> None:
    """Queued as if nothing had ever been sent, and no bytes, location or lease left."""
    shown = await service.show(image_id)
    fields = ("status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
    assert [shown[name] for name in fields] == ["queued", None, None, None, None, None]
    assert image_id not in "".join(service.stored_files)
    with service.services.database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(leases)).scalar() == 0
        assert connection.execute(select(func.count()).select_from(image_locations)).scalar() == 0


# Upload


@pytest.mark.parametrize("chunked", [False, True])
async def test_upload(service: Service, chunked: bool) -> None:
    image = await service.create()
    response = await put(service, image["id"], in_pieces(DATA) if chunked else DATA)
    assert response.status_code == 204
    assert response.headers["content-type"] == "text/html; charset=UTF-8"
    assert response.headers["content-length"] == "0"
    shown = await service.show(image["id"])
    expected = {
        "status": "active",
        "size": len(DATA),
        "virtual_size": len(DATA),
        "checksum": hashlib.md5(DATA).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(DATA).hexdigest(),
    }
    assert {name: shown[name] for name in expected} == expected
    assert service.stored_files == [image["id"]]
    assert (await get(service, image["id"])).content == DATA


async def test_empty_upload(service: Service) -> None:
    image = await service.create_active(b"")
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", 0, None)
    assert image["checksum"] == hashlib.md5(b"").hexdigest()
    response = await get(service, image["id"])
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "0")
    assert (await get(service, image["id"], range="bytes=0-")).status_code == 416


async def test_content_type(service: Service) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}/file"
    for content_type in (None, "application/json", "application/x-raw", ""):
        headers = {} if content_type is None else {"content-type": content_type}
        assert (await service.call("owner", "PUT", path, content=b"x", headers=headers)).status_code == 415
        unknown = f"/v2/images/{UNKNOWN}/file"
        assert (await service.call("owner", "PUT", unknown, content=b"x", headers=headers)).status_code == 415
    await require_untouched(service, image["id"])
    with_parameter = {"content-type": "application/octet-stream; x=y"}
    assert (await service.call("owner", "PUT", path, content=b"x", headers=with_parameter)).status_code == 204


@pytest.mark.parametrize("chunked", [False, True])
async def test_announced_size(service: Service, chunked: bool) -> None:
    image = await service.create()
    for announced in ("x", "-1", "1.5", "", "٣", "9" * 5000):
        content: Any = in_pieces(b"data") if chunked else b"data"
        named = {"x-openstack-image-size": announced.encode("utf-8")}
        response = await service.call(
            "owner", "PUT", f"/v2/images/{image['id']}/file", content=content, headers={**OCTETS, **named}
        )
        assert response.status_code == 400, announced
    for announced in ("3", "5", "99999999"):
        content = in_pieces(b"data") if chunked else b"data"
        response = await put(service, image["id"], content, x_openstack_image_size=announced)
        assert response.status_code == 400, announced
        await require_untouched(service, image["id"])
    content = in_pieces(b"data") if chunked else b"data"
    assert (await put(service, image["id"], content, x_openstack_image_size="4")).status_code == 204


async def test_shorter_than_content_length(service: Service) -> None:
    image = await service.create()
    for length in ("3", "5"):
        response = await put(service, image["id"], in_pieces(b"data"), content_length=length)
        assert response.status_code == 400
        await require_untouched(service, image["id"])


async def test_formats_must_be_set(service: Service) -> None:
    for formats in ({"disk_format": None}, {"container_format": None}, {"disk_format": None, "container_format": None}):
        image = await service.create(**formats)
        assert (await put(service, image["id"], b"data")).status_code == 400
        await require_untouched(service, image["id"])


async def test_only_while_queued(service: Service) -> None:
    image = await service.create_active(b"data")
    assert (await put(service, image["id"], b"other")).status_code == 409
    engine = service.services.database.engine
    for status in ("saving", "uploading", "importing", "deactivated"):
        with engine.begin() as connection:
            connection.execute(update(images).values(status=status))
        assert (await put(service, image["id"], b"other")).status_code == 409
    with engine.begin() as connection:
        connection.execute(update(images).values(status="active"))
    assert (await get(service, image["id"])).content == b"data"


@pytest.mark.parametrize("visibility", ["private", "community"])
async def test_who_may_upload(service: Service, visibility: str) -> None:
    image = await service.create(visibility=visibility)
    hidden = 403 if visibility == "community" else 404
    for who, status in (("reader", 403), ("other", hidden), ("roleless", 404), ("anonymous", 401)):
        assert (await put(service, image["id"], b"data", who)).status_code == status
    assert (await put(service, UNKNOWN, b"data")).status_code == 404
    await require_untouched(service, image["id"])
    assert (await put(service, image["id"], b"data", "admin")).status_code == 204


async def test_members_do_not_upload(service: Service) -> None:
    image = await service.create()
    await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    assert (await put(service, image["id"], b"data", "other")).status_code == 403


async def test_store_header_of_a_single_store_is_ignored(service: Service) -> None:
    image = await service.create()
    assert (await put(service, image["id"], b"data", x_image_meta_store="nowhere")).status_code == 204


@pytest.mark.parametrize(
    ("disk_format", "content"),
    [("qcow2", b"not qcow2" * 1000), ("qcow2", QCOW2_WITH_BACKING_FILE), ("raw", QCOW2_WITH_BACKING_FILE)],
)
async def test_content_that_is_refused_leaves_nothing(service: Service, disk_format: str, content: bytes) -> None:
    image = await service.create(disk_format=disk_format)
    assert (await put(service, image["id"], content)).status_code == 415
    await require_untouched(service, image["id"])  # D10
    assert (await get(service, image["id"])).status_code == 204
    wrapped = await service.create(disk_format=disk_format, container_format="ovf")
    assert (await put(service, wrapped["id"], content)).status_code == 204
    assert (await service.show(wrapped["id"]))["virtual_size"] is None


async def test_client_that_goes_away(service: Service) -> None:
    image = await service.create()
    messages = [{"type": "http.request", "body": DATA, "more_body": True}, {"type": "http.disconnect"}]
    answer = await _raw_upload(service, image["id"], messages)
    assert answer == [400]
    await require_untouched(service, image["id"])
    assert (await put(service, image["id"], DATA)).status_code == 204


async def test_cancelled_upload_cleans_up(service: Service) -> None:
    image = await service.create()
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield DATA
            started.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(put(service, image["id"], endless()))
    await started.wait()
    assert (await service.show(image["id"]))["status"] == "saving"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await require_untouched(service, image["id"])


async def test_two_uploads_at_once(service: Service) -> None:  # D22
    image = await service.create()
    answers = await asyncio.gather(*[put(service, image["id"], in_pieces(DATA)) for _ in range(5)])
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409, 409]
    assert (await get(service, image["id"])).content == DATA
    assert service.stored_files == [image["id"]]


async def test_deleted_during_the_upload(service: Service) -> None:
    image = await service.create()

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        response = await service.call("owner", "DELETE", f"/v2/images/{image['id']}")
        assert response.status_code == 204
        yield DATA

    assert (await put(service, image["id"], body())).status_code == 410
    assert service.stored_files == []
    with service.services.database.engine.connect() as connection:
        assert connection.execute(select(images.c.status)).scalar() == "deleted"
        assert connection.execute(select(func.count()).select_from(leases)).scalar() == 0
        assert connection.execute(select(func.count()).select_from(image_locations)).scalar() == 0


async def test_described_during_the_upload(service: Service) -> None:
    image = await service.create()

    async def body() -> AsyncIterator[bytes]:
        yield b"da"
        assert (await get(service, image["id"])).status_code == 204
        assert (await service.call("owner", "PUT", f"/v2/images/{image['id']}/tags/t")).status_code == 204
        yield b"ta"

    assert (await put(service, image["id"], body())).status_code == 204
    shown = await service.show(image["id"])
    assert (shown["tags"], shown["status"]) == (["t"], "active")


async def test_file_that_nobody_recorded_is_left_alone(service: Service) -> None:
    image = await service.create()
    stray = _folder(service) / image["id"]
    stray.write_bytes(b"somebody's")
    assert (await put(service, image["id"], b"data")).status_code == 409
    assert stray.read_bytes() == b"somebody's"
    assert (await service.show(image["id"]))["status"] == "queued"
    stray.unlink()
    assert (await put(service, image["id"], b"data")).status_code == 204


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        memory = StoreSettings("small", "memory", {"memory_store_capacity": 60})
        stores = replace(settings.stores, stores=(*settings.stores.stores, memory), multi_store=True)
        return replace(settings, quotas=QuotaSettings(image_size_cap_bytes=100), stores=stores)

    async def test_size_cap(self, service: Service) -> None:
        image = await service.create()
        assert (await put(service, image["id"], b"x" * 101)).status_code == 413
        assert (await put(service, image["id"], in_pieces(b"x" * 101, 50))).status_code == 413
        announced = await put(service, image["id"], in_pieces(b"x"), x_openstack_image_size=str(10**14))
        assert announced.status_code == 413
        await require_untouched(service, image["id"])
        assert (await put(service, image["id"], in_pieces(b"x" * 100, 50))).status_code == 204

    async def test_store_full(self, service: Service) -> None:
        image = await service.create()
        response = await put(service, image["id"], b"x" * 61, x_image_meta_store="small")
        assert response.status_code == 413
        await require_untouched(service, image["id"])

    async def test_named_store(self, service: Service) -> None:
        image = await service.create()
        for unknown in ("nowhere", "os_glance_staging_store", "os_glance_tasks_store", "/etc"):  # D5
            response = await put(service, image["id"], b"data", x_image_meta_store=unknown)
            assert response.status_code == 400
            assert (await get(service, image["id"], query=f"?prefer={unknown}")).status_code == 400
        await require_untouched(service, image["id"])
        assert (await put(service, image["id"], b"data", x_image_meta_store="small")).status_code == 204
        assert service.stored_files == []
        assert (await service.show(image["id"]))["stores"] == "small"
        for query in ("", "?prefer=small", "?prefer=,file,,small", "?prefer="):
            response = await get(service, image["id"], query=query)
            assert (response.status_code, response.content) == (200, b"data")
        part = await get(service, image["id"], range="bytes=1-2")
        assert (part.status_code, part.content) == (206, b"at")

    async def test_preferring_a_store_is_up_to_policy(self, service: Service, settings: Settings) -> None:
        image = await service.create_active(b"data")
        settings.policy.policy_file.write_text('download_from_store: "!"\n')
        assert (await get(service, image["id"], query="?prefer=file")).status_code == 403
        assert (await get(service, image["id"])).status_code == 200


# Download


async def test_download(service: Service) -> None:
    image = await service.create_active(DATA)
    response = await get(service, image["id"])
    assert response.status_code == 200
    assert response.content == DATA
    headers = {"content-type": "application/octet-stream", "content-length": str(len(DATA))}
    headers["content-md5"] = hashlib.md5(DATA).hexdigest()
    assert {name: response.headers[name] for name in headers} == headers
    assert "content-range" not in response.headers
    assert "x-openstack-request-id" in response.headers


async def test_no_data_yet(service: Service) -> None:
    image = await service.create()
    for headers in ({}, {"range": "bytes=0-1"}, {"content_range": "bytes */5"}, {"range": "nonsense"}):  # D15
        response = await get(service, image["id"], **headers)
        assert (response.status_code, response.content) == (204, b"")
        assert "content-type" not in response.headers


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=2-2", 2, 2),
        ("bytes=5-", 5, 9),
        ("bytes=5-100", 5, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-10", 0, 9),
        ("bytes=-11", 0, 9),
        ("bytes=-0", 0, 9),
        ("bytes=0-", 0, 9),
    ],
)
async def test_range(service: Service, header: str, first: int, last: int) -> None:
    image = await service.create_active(b"0123456789")
    response = await get(service, image["id"], range=header, content_range="bytes 1-1/*")
    assert response.status_code == 206
    assert response.content == b"0123456789"[first : last + 1]
    assert response.headers["content-range"] == f"bytes {first}-{last}/10"
    assert response.headers["content-length"] == str(last + 1 - first)
    assert response.headers["content-md5"] == hashlib.md5(b"0123456789").hexdigest()
    assert response.headers["content-type"] == "application/octet-stream"


async def test_bad_ranges(service: Service) -> None:
    image = await service.create_active(b"0123456789")
    for bad in ("bytes=10-", "bytes=3-2", "bytes=a-b", "bytes=-", "bytes=1", "items=0-1", "0-1", "", "bytes=1-2-3"):
        response = await get(service, image["id"], range=bad)
        assert response.status_code == 416, bad
        assert response.headers["content-range"] == "bytes */10"
    for several in ("bytes=0-1,3-4", "bytes=0-1,", "bytes=,"):
        assert (await get(service, image["id"], range=several)).status_code == 400, several
    for bad in ("bytes */10", "bytes */*", "bytes 5-10/*", "bytes 10-11/10", "bytes 3-2/*", "bytes 1/*", "x 1-2/3"):
        assert (await get(service, image["id"], content_range=bad)).status_code == 416, bad
    for good, content in (("bytes 1-2/*", b"12"), ("bytes 8-20/30", b"89"), ("bytes 1-2/10", b"12")):
        response = await get(service, image["id"], content_range=good)
        assert (response.status_code, response.content) == (206, content), good


async def test_deactivated(service: Service) -> None:
    image = await service.create_active(b"data", "admin", visibility="public", owner="p1")
    await service.call("owner", "POST", f"/v2/images/{image['id']}/actions/deactivate")
    for who, status in (("owner", 403), ("reader", 403), ("other", 403), ("roleless", 403), ("admin", 200)):
        assert (await get(service, image["id"], who)).status_code == status, who


@pytest.mark.parametrize(
    ("visibility", "others"), [("private", 404), ("shared", 404), ("community", 200), ("public", 200)]
)
async def test_who_may_download(service: Service, visibility: str, others: int) -> None:
    image = await service.create_active(b"data", "admin", visibility=visibility, owner="p1")
    expected = {"owner": 200, "admin": 200, "reader": 403, "other": others, "roleless": 404, "anonymous": 401}
    for who, status in expected.items():
        assert (await get(service, image["id"], who)).status_code == status, who
    assert (await get(service, UNKNOWN)).status_code == 404


async def test_members_download(service: Service) -> None:
    image = await service.create_active(b"data")
    await service.call("owner", "POST", f"/v2/images/{image['id']}/members", json={"member": "p2"})
    assert (await get(service, image["id"], "other")).content == b"data"


async def test_one_store_cannot_be_preferred(service: Service) -> None:
    image = await service.create_active(b"data")
    assert (await get(service, image["id"], query="?prefer=file")).status_code == 400


async def test_data_that_got_lost(service: Service) -> None:
    """An active image whose bytes are gone is an error that names the store, not an empty image."""
    image = await service.create_active(b"data")
    file = _folder(service) / image["id"]
    file.unlink()
    response = await get(service, image["id"])
    assert response.status_code == 404
    assert "missing" in response.text
    assert "file:" in response.text
    file.write_bytes(b"dat")
    assert (await get(service, image["id"])).status_code == 500


async def test_a_location_outside_the_store_is_not_opened(service: Service, tmp_path: Path) -> None:
    image = await service.create_active(b"data")
    (tmp_path / "secret").write_bytes(b"data")
    for uri in (f"file://{tmp_path}/secret", f"file://{_folder(service)}/../secret", "file:///etc/passwd"):
        with service.services.database.engine.begin() as connection:
            connection.execute(update(image_locations).values(value=uri, meta_data='{"store": "file"}'))
        response = await get(service, image["id"])
        assert response.status_code in (404, 503)
        assert str(tmp_path) not in response.text


class TestTwoCopies:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        heavy = StoreSettings("heavy", "file", {"filesystem_store_datadir": str(tmp_path / "heavy")}, weight=10)
        stores = replace(settings.stores, stores=(*settings.stores.stores, heavy), multi_store=True)
        return replace(settings, stores=stores)

    async def test_weight_preference_and_fallback(self, service: Service, tmp_path: Path) -> None:
        image = await service.create_active(b"0000")
        copy = tmp_path / "heavy" / image["id"]
        copy.write_bytes(b"1111")
        with service.services.database.engine.begin() as connection:
            row = connection.execute(select(image_locations)).one()._asdict()
            del row["id"]
            row |= {"value": f"file://{copy}", "meta_data": '{"store": "heavy"}'}
            connection.execute(image_locations.insert(), row)
        assert (await service.show(image["id"]))["stores"] == "heavy,file"
        assert (await get(service, image["id"])).content == b"1111"
        assert (await get(service, image["id"], query="?prefer=file")).content == b"0000"
        assert (await get(service, image["id"], query="?prefer=heavy,file")).content == b"1111"
        copy.unlink()
        assert (await get(service, image["id"])).content == b"0000"
        assert (await get(service, image["id"], query="?prefer=heavy")).content == b"0000"


def _folder(service: Service) -> Path:
    return Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])


async def _raw_upload(service: Service, image_id: str, messages: list[dict[str, Any]]) -> list[int]:
    """The statuses that an upload was answered with whose body came as these ASGI messages."""
    headers = {**HEADERS["owner"], **OCTETS, "transfer-encoding": "chunked", "host": "images.test"}
    path = f"/v2/images/{image_id}/file"
    scope: dict[str, Any] = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    waiting = iter(messages)
    answered: list[int] = []

    async def receive() -> Any:
        return next(waiting)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    await service.app(scope, receive, send)
    return answered
