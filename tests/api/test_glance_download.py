"""The import method glance-download, from an image service that is not always one (spec: import-and-tasks §9)."""

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from blick.conf.settings import FetchSettings, Settings, StoreSettings, StoresSettings
from blick.identity.trusted_headers import TrustedHeaders
from blick.model.uri_filter import UriFilter
from blick.worker import job_worker
from tests.support.remote_region import RemoteRegion
from tests.support.service import Service, running_service

DATA = b"0123456789abcdef" * 200_000
THEIRS = "6d0c0e0a-1f0b-4c55-9a57-0d3d1f9c6a11"
TOKEN = "gAAAAAB-s3cr3t"
MIB = 1 << 20
RECORD: dict[str, Any] = {
    "id": THEIRS,
    "name": "theirs",
    "status": "active",
    "visibility": "public",
    "size": len(DATA),
    "disk_format": "raw",
    "container_format": "bare",
    "checksum": hashlib.md5(DATA).hexdigest(),
    "os_hash_algo": "sha256",
    "os_hash_value": hashlib.sha256(DATA).hexdigest(),
    "tags": ["theirs"],
    "min_disk": 7,
    "owner": "theirs",
    "hw_disk_bus": "scsi",
    "os_distro": "debian",
    "os_version": "13",
    "os_glance_import_task": "x",
}


@pytest.fixture
def remote() -> Iterator[RemoteRegion]:
    with RemoteRegion(RECORD, DATA, TOKEN) as region:
        yield region


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    store = StoreSettings("one", "file", {"filesystem_store_datadir": str(tmp_path / "one")})
    uri_filter = UriFilter(allowed_hosts=("127.0.0.1",), allowed_ports=())
    return replace(
        settings,
        api=replace(settings.api, enabled_import_methods=("glance-download",)),
        stores=StoresSettings("one", (store,), multi_store=True),
        imports=replace(settings.imports, uri_filter=uri_filter),
        fetch=FetchSettings(retries=1),
    )


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """Callers come with a token and a catalog, as a proxy in front would hand them on."""
    async with running_service(settings) as running:
        running.app.identity = TrustedHeaders(())  # type: ignore[attr-defined]
        yield running


def catalog(remote: RemoteRegion, **changes: Any) -> str:
    endpoint = {"region": "RegionTwo", "interface": "public", "url": remote.url, **changes}
    elsewhere = {"region": "RegionOne", "interface": "public", "url": "http://127.0.0.1:9/"}
    return json.dumps([{"type": "image", "name": "glance", "endpoints": [elsewhere, endpoint]}])


async def call(
    service: Service, method: str, path: str, catalog: str = "[]", body: Any = None, token: str = TOKEN
) -> httpx.Response:
    headers = {
        "x-identity-status": "Confirmed",
        "x-user-id": "u-owner",
        "x-project-id": "p1",
        "x-roles": "member,reader",
        "x-auth-token": token,
        "x-service-catalog": catalog,
    }
    response = await service.client.request(method, path, headers=headers, json=body)
    assert response.status_code < 300, response.text
    return response


async def outcome(
    service: Service, catalog: str, image: dict[str, Any] | None = None, token: str = TOKEN, **arguments: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Image and task after the import."""
    if image is None:
        mine = {"disk_format": "qcow2", "container_format": "bare", "name": "mine", "min_disk": 3, "os_version": "12"}
        image = (await call(service, "POST", "/v2/images", body=mine)).json()
    place = f"/v2/images/{image['id']}"
    method = {"name": "glance-download", "glance_region": "regiontwo", "glance_image_id": THEIRS, **arguments}
    await call(service, "POST", f"{place}/import", catalog, {"method": method}, token)
    assert await job_worker(service.services).work_off() == 1
    task = (await call(service, "GET", f"{place}/tasks")).json()["tasks"][-1]
    shown = (await call(service, "GET", place)).json()
    assert "os_glance_import_task" not in shown
    return shown, task


async def failure(service: Service, catalog: str, **options: Any) -> str:
    """Why it failed; also sees to it that the image is as it was, and that it can be tried again."""
    image, task = await outcome(service, catalog, **options)
    assert (image["status"], image["size"], image["checksum"], image["os_hash_value"]) == ("queued", None, None, None)
    assert (image["name"], image["min_disk"], image["os_version"]) == ("mine", 3, "12")
    assert (image["os_glance_importing_to_stores"], image["os_glance_failed_import"]) == ("", "one")
    assert task["status"] == "failure"
    assert list(Path(service.services.settings.imports.staging_dir).iterdir()) == []
    message: str = task["message"]
    assert TOKEN not in message
    assert 0 < len(message) < 500
    return message


async def success(service: Service, catalog: str, **options: Any) -> dict[str, Any]:
    image, task = await outcome(service, catalog, **options)
    assert task["status"] == "success", task["message"]
    assert (image["status"], image["size"]) == ("active", len(DATA))
    return image


async def test_takes_over_what_it_should(
    service: Service, remote: RemoteRegion, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    image = await success(service, catalog(remote))
    assert (image["disk_format"], image["container_format"]) == ("raw", "bare")
    assert (image["hw_disk_bus"], image["os_distro"], image["os_version"]) == ("scsi", "debian", "12")
    assert (image["name"], image["min_disk"], image["tags"], image["visibility"]) == ("mine", 3, [], "shared")
    assert (image["checksum"], image["os_hash_algo"]) == (RECORD["checksum"], "sha512")
    assert image["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert remote.requests == [("GET", f"/v2/images/{THEIRS}"), ("GET", f"/v2/images/{THEIRS}/file")]
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("url", ["{}/", "{}/v2", "{}/v2/"])
async def test_however_the_catalog_writes_it(service: Service, remote: RemoteRegion, url: str) -> None:
    await success(service, catalog(remote, url=url.format(remote.url)))


async def test_the_interface(service: Service, remote: RemoteRegion) -> None:
    await success(service, catalog(remote, interface="internal"), glance_service_interface="internal")


@pytest.mark.parametrize("changes", [{"interface": "internal"}, {"region": "RegionThree"}, {"region": None}])
async def test_no_such_region(service: Service, remote: RemoteRegion, changes: dict[str, Any]) -> None:
    assert "regiontwo" in await failure(service, catalog(remote, **changes))
    assert remote.requests == []


async def test_the_filter_is_for_regions_too(service: Service, remote: RemoteRegion) -> None:
    for url in ("http://10.0.0.1:9292", "http://localhost:9292", "file:///etc"):
        assert "does not pass filtering" in await failure(service, catalog(remote, url=url))


async def test_breaks_are_taken_up(service: Service, remote: RemoteRegion) -> None:
    """The service tells no versions of its data, but a hash of it."""
    remote.breaks = [100, MIB, MIB, MIB]
    await success(service, catalog(remote))
    assert [path for _, path in remote.requests].count(f"/v2/images/{THEIRS}/file") == 3
    assert [path for _, path in remote.requests].count(f"/v2/images/{THEIRS}") == 2


@pytest.mark.parametrize(
    "data", [DATA[:-1] + b"x", DATA[:-1], DATA + b"x", b""], ids=["other", "shorter", "longer", "empty"]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_other_data_than_recorded(service: Service, remote: RemoteRegion, data: bytes, chunked: bool) -> None:
    remote.data, remote.chunked = data, chunked
    await failure(service, catalog(remote))


async def test_the_checksum_where_there_is_no_other_hash(service: Service, remote: RemoteRegion) -> None:
    remote.record = {**RECORD, "os_hash_algo": None, "os_hash_value": None}
    await success(service, catalog(remote))
    remote.data = DATA[:-1] + b"x"
    assert "MD5" in await failure(service, catalog(remote))


@pytest.mark.parametrize(
    "record",
    [
        {**RECORD, "status": "deactivated"},
        {**RECORD, "size": "many"},
        {**RECORD, "disk_format": "floppy"},
        {**RECORD, "id": "another"},
        {**RECORD, "hw_disk_bus": {"a": "b"}},
        {**RECORD, "hw_disk_bus": "\U0001f600"},
        {**RECORD, "size": 1 << 62},
        [RECORD],
        "theirs",
        None,
    ],
    ids=range(10),
)
async def test_records_that_make_no_sense(service: Service, remote: RemoteRegion, record: Any) -> None:
    remote.record = record
    await failure(service, catalog(remote))
    assert remote.requests == [("GET", f"/v2/images/{THEIRS}")]


@pytest.mark.parametrize("text", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"id": 1' + b" " * MIB + b"}"])
async def test_no_record_at_all(service: Service, remote: RemoteRegion, text: bytes) -> None:
    remote.record_text = text
    await failure(service, catalog(remote))


@pytest.mark.parametrize("status", [401, 403, 404, 500, 204, 300])
@pytest.mark.parametrize("what", ["record", "file"])
async def test_refusals(service: Service, remote: RemoteRegion, status: int, what: str) -> None:
    remote.statuses[what] = status
    message = await failure(service, catalog(remote))
    if status in (401, 403, 404):
        assert "region 'regiontwo'" in message


async def test_a_token_that_expires_in_the_middle(service: Service, remote: RemoteRegion) -> None:
    remote.breaks = [len(json.dumps(RECORD)) + 1000, 100_000]
    remote.tokens_last_requests = 2
    assert "does not let the caller in" in await failure(service, catalog(remote))


async def test_a_wrong_token(service: Service, remote: RemoteRegion) -> None:
    assert "does not let the caller in" in await failure(service, catalog(remote), token="another")


async def test_redirects_do_not_get_the_token(service: Service, remote: RemoteRegion) -> None:
    with RemoteRegion(RECORD, DATA, TOKEN) as elsewhere:
        remote.redirect_to = elsewhere.url
        assert "does not let the caller in" in await failure(service, catalog(remote))
        assert elsewhere.tokens == [None]
