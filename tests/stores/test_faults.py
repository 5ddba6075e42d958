"""Stores that fail, seen through the whole service: the right answer, nothing left behind, and the next try works.

Each test is one row of the table, each backend a column: real servers, behind a line that breaks when a test says so.
What is peculiar to one backend (a full pool, an object in use …) is in that backend's own tests.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    PolicySettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from blick.db import outbox, uploads
from blick.ops import cleanup
from blick.stores.base import CanList
from tests.support import s3
from tests.support.breaking_line import BreakingLine, breaking_line
from tests.support.service import OCTETS, Service, running_service
from tests.support.swift import Swift

MIB = 1 << 20
# More than the parts and segments of these stores, so that something is on its way when half of it has come.
DATA = b"".join(bytes([number]) * MIB for number in range(24))
LATER_MS = 7_200_000


@dataclass(frozen=True, slots=True)
class Backend:
    """A store, and what can happen to it. `wrong` are options with other credentials, `homeless` with a bucket that
    is not there; None where there is no such thing."""

    store: StoreSettings
    cut: Callable[[], None]
    mend: Callable[[], None]
    remove: Callable[[str], None]
    shorten: Callable[[str], None]
    wrong: Mapping[str, Any] | None = None
    homeless: Mapping[str, Any] | None = None
    line: BreakingLine | None = None


def file_backend(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> Backend:
    folder = tmp_path / "images"
    return Backend(
        StoreSettings("only", "file", {"filesystem_store_datadir": str(folder)}),
        cut=lambda: _move(folder, tmp_path / "away"),
        mend=lambda: _move(tmp_path / "away", folder),
        remove=lambda key: (folder / key).unlink(),
        shorten=lambda key: _write(folder / key, DATA[:1000]),
    )


def s3_backend(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> Backend:
    server = request.getfixturevalue("swift")  # the strict one: it checks signatures
    line = stack.enter_context(breaking_line(server.port))
    bucket = s3.new_bucket(server)
    client = s3.client(server)
    stack.callback(client.close)
    options = s3.options(server, bucket) | {"s3_store_host": f"http://{line.address}"}
    return Backend(
        StoreSettings("only", "s3", options),
        cut=line.cut,
        mend=line.mend,
        remove=lambda key: client.delete_object(Bucket=bucket, Key=key),
        shorten=lambda key: client.put_object(Bucket=bucket, Key=key, Body=DATA[:1000]),
        wrong={"s3_store_secret_key": "wrong"},
        homeless={"s3_store_bucket": "nowhere"},
        line=line,
    )


def swift_backend(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> Backend:
    server: Swift = request.getfixturevalue("swift")
    line = stack.enter_context(breaking_line(server.port))
    container = f"faults-{uuid4()}"
    api = stack.enter_context(_swift_client(server))
    api.put(f"/{container}").raise_for_status()
    options = {
        "swift_store_auth_address": server.auth_url,
        "swift_store_user": server.user,
        "swift_store_key": server.key,
        "swift_store_container": container,
        "swift_store_endpoint": server.storage_url.replace(server.address, line.address),
        "swift_store_large_object_size": 5,
        "swift_store_large_object_chunk_size": 5,
        "swift_store_retry_get_count": 3,
    }
    return Backend(
        StoreSettings("only", "swift", options),
        cut=line.cut,
        mend=line.mend,
        remove=lambda key: api.delete(f"/{container}/{key}?multipart-manifest=delete").raise_for_status() and None,
        shorten=lambda key: api.put(f"/{container}/{key}", content=DATA[:1000]).raise_for_status() and None,
        wrong={"swift_store_key": "wrong"},
        homeless={"swift_store_container": "nowhere"},
        line=line,
    )


BACKENDS = {
    "file": pytest.param(file_backend, id="file"),
    "s3": pytest.param(s3_backend, id="s3", marks=pytest.mark.needs("swift")),
    "swift": pytest.param(swift_backend, id="swift", marks=pytest.mark.needs("swift")),
}
REMOTE = [BACKENDS["s3"], BACKENDS["swift"]]


@pytest.fixture(params=BACKENDS.values())
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield request.param(request, stack, tmp_path)


@pytest.fixture
def settings(backend: Backend, tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        stores=StoresSettings(default_store="only", stores=(backend.store,)),
        database=DatabaseSettings(connection=database_url, sqlite_synchronous=False),
        policy=PolicySettings(policy_file=tmp_path / "policy.yaml", policy_dirs=(tmp_path / "policy.d",)),
        identity=IdentitySettings(kind="none"),
    )


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with running_service(settings) as running:
        yield running


@dataclass
class Upload:
    """The body of an upload, half of which comes before `in_the_middle` is called."""

    in_the_middle: Callable[[], None] = field(default=lambda: None)

    async def body(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(DATA), MIB):
            if begin == len(DATA) // 2:
                self.in_the_middle()
            yield DATA[begin : begin + MIB]


async def upload(service: Service, image_id: str, in_the_middle: Callable[[], None] = lambda: None) -> httpx.Response:
    body = Upload(in_the_middle).body()
    headers = {**OCTETS, "content-length": str(len(DATA))}
    return await service.call("owner", "PUT", f"/v2/images/{image_id}/file", content=body, headers=headers)


async def download(service: Service, image_id: str) -> httpx.Response:
    return await service.call("owner", "GET", f"/v2/images/{image_id}/file")


async def housekeeping(service: Service) -> None:
    """What a later round of the housekeeping does, when whatever waits has waited long enough."""
    now_ms = service.services.now_ms
    later = replace(service.services, now_ms=lambda: now_ms() + LATER_MS)
    await cleanup.take_over_dead_uploads(later)
    await cleanup.work_off_deletes(later)


async def require_clean(service: Service, *expected: str) -> None:
    """Nothing lies in the store but these images' objects; nobody holds or waits for anything."""
    store = service.services.stores.default
    assert isinstance(store, CanList)
    found = [entry async for entry in store.objects()]
    assert sorted(entry.key for entry in found) == sorted(expected)
    assert all(entry.location is not None for entry in found)
    assert await service.services.database.read(uploads.all_leases) == []
    assert await service.services.database.read(outbox.due, service.services.now_ms() + 10 * LATER_MS, 100) == []


async def require_works(service: Service, image_id: str) -> None:
    """The queued image takes its data now, and gives it back."""
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    answer = await upload(service, image_id)
    assert answer.status_code == 204, answer.text
    assert (await download(service, image_id)).content == DATA
    await require_clean(service, image_id)


async def test_gone_before_an_upload(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    backend.cut()
    answer = await upload(service, image_id)
    assert answer.status_code == 503, answer.text
    backend.mend()
    await housekeeping(service)
    await require_clean(service)
    await require_works(service, image_id)


@pytest.mark.parametrize("backend", REMOTE, indirect=True)
async def test_gone_in_the_middle_of_an_upload(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    answer = await upload(service, image_id, backend.cut)
    assert answer.status_code == 503, answer.text
    backend.mend()
    await housekeeping(service)
    await require_clean(service)
    await require_works(service, image_id)


async def test_gone_after_an_upload(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    assert (await upload(service, image_id)).status_code == 204
    backend.cut()
    assert (await download(service, image_id)).status_code == 503
    assert (await service.show(image_id))["status"] == "active"
    backend.mend()
    assert (await download(service, image_id)).content == DATA


async def test_gone_while_an_image_is_deleted(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    assert (await upload(service, image_id)).status_code == 204
    backend.cut()
    assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    (entry,) = await service.services.database.read(outbox.of_image, image_id)
    assert entry.attempts == 1
    backend.mend()
    await housekeeping(service)
    await require_clean(service)


@pytest.mark.parametrize("backend", REMOTE, indirect=True)
async def test_a_download_whose_connection_is_reset(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    assert (await upload(service, image_id)).status_code == 204
    assert backend.line is not None
    backend.line.reset_after(len(DATA) // 2)
    answer = await download(service, image_id)
    assert answer.status_code == 200
    assert answer.content == DATA


@pytest.mark.parametrize("backend", REMOTE, indirect=True)
async def test_gone_in_the_middle_of_a_download(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    assert (await upload(service, image_id)).status_code == 204
    assert backend.line is not None
    backend.line.cut_after(len(DATA) // 2, "down")
    # Something has gone out already: the connection is cut, which a client in this process sees as the error itself.
    with pytest.raises(Exception, match="only:"):
        await download(service, image_id)
    backend.mend()
    assert (await download(service, image_id)).content == DATA


async def test_missing_data(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    assert (await upload(service, image_id)).status_code == 204
    backend.remove(image_id)
    answer = await download(service, image_id)
    assert answer.status_code == 404
    assert "its data is missing" in answer.text
    assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    await housekeeping(service)
    await require_clean(service)


async def test_data_that_is_shorter_than_recorded(service: Service, backend: Backend) -> None:
    image_id = (await service.create())["id"]
    assert (await upload(service, image_id)).status_code == 204
    backend.shorten(image_id)
    answer = await download(service, image_id)
    assert answer.status_code == 500
    assert "1000 bytes are stored" in answer.text


@pytest.mark.parametrize("backend", REMOTE, indirect=True)
@pytest.mark.parametrize("fault", ["wrong", "homeless"])
async def test_options_that_do_not_fit(settings: Settings, backend: Backend, fault: str) -> None:
    """Wrong credentials; a bucket that is not there. The operator mends the configuration and starts anew."""
    options = {**backend.store.options, **getattr(backend, fault)}
    broken = replace(settings.stores, stores=(replace(backend.store, options=options),))
    async with running_service(replace(settings, stores=broken)) as service:
        image_id = (await service.create())["id"]
        answer = await upload(service, image_id)
        assert answer.status_code >= 500, answer.text
        assert "wrong" not in answer.text
        await housekeeping(service)
    async with running_service(settings) as service:
        await housekeeping(service)
        await require_works(service, image_id)


async def test_an_upload_that_is_refused_for_its_content(service: Service, backend: Backend) -> None:
    image_id = (await service.create(disk_format="qcow2"))["id"]
    assert (await upload(service, image_id)).status_code == 415
    assert (await service.show(image_id))["status"] == "queued"
    await require_clean(service)


def _swift_client(server: Swift) -> httpx.Client:
    login = httpx.get(server.auth_url, headers={"x-auth-user": server.user, "x-auth-key": server.key})
    return httpx.Client(base_url=server.storage_url, headers={"x-auth-token": login.headers["x-auth-token"]})


def _move(source: Path, target: Path) -> None:
    source.rename(target)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
