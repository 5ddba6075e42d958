"""The import method web-download: which URIs are taken, and what servers may do (spec: import-and-tasks §8)."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from blick.conf.settings import FetchSettings, QuotaSettings, Settings, StoreSettings, StoresSettings
from blick.model.uri_filter import UriFilter
from blick.worker import job_worker
from tests.support.lying_server import LyingServer, Manners
from tests.support.server import free_port
from tests.support.service import Service, running_service
from tests.support.web_server import WebServer

DATA = b"0123456789abcdef" * 200_000  # more than one buffer
OTHER = b"fedcba9876543210" * 200_000
MD5, SHA256 = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()
LOCK = "os_glance_import_task"
HERE = UriFilter(allowed_hosts=("127.0.0.1", "localhost"), allowed_ports=())


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """This machine's own servers may be fetched from; whoever breaks off is tried again once."""
    store = StoreSettings("one", "file", {"filesystem_store_datadir": str(tmp_path / "one")})
    return replace(
        settings,
        stores=StoresSettings("one", (store,), multi_store=True),
        imports=replace(settings.imports, uri_filter=HERE),
        fetch=FetchSettings(retries=1),
    )


@pytest.fixture
def web() -> Iterator[LyingServer]:
    with LyingServer(DATA) as server:
        yield server


async def post(service: Service, image: dict[str, Any], uri: Any, **more: Any) -> tuple[int, str]:
    body = {"method": {"name": "web-download", "uri": uri, **more}}
    response = await service.call(
        "owner", "POST", f"/v2/images/{image['id']}/import", json=body, headers={"accept": "application/json"}
    )
    return response.status_code, response.json()["message"] if response.content else ""


async def outcome(service: Service, uri: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Image and task after the import of `uri` into a new image."""
    image = await service.create()
    assert await post(service, image, uri, **more) == (202, "")
    assert await job_worker(service.services).work_off() == 1
    response = await service.call("owner", "GET", f"/v2/images/{image['id']}/tasks")
    [task] = response.json()["tasks"]
    shown = await service.show(image["id"])
    assert LOCK not in shown
    return shown, task


async def failure(service: Service, uri: str, **more: Any) -> str:
    """Why the import failed; also sees to it that nothing is left of it."""
    image, task = await outcome(service, uri, **more)
    assert (image["status"], image["size"], image["checksum"], image["os_hash_value"]) == ("queued", None, None, None)
    assert (image["os_glance_importing_to_stores"], image["os_glance_failed_import"]) == ("", "one")
    assert task["status"] == "failure"
    assert list(Path(service.services.settings.imports.staging_dir).iterdir()) == []
    message: str = task["message"]
    assert 0 < len(message) < 500
    return message


async def success(service: Service, uri: str, **more: Any) -> dict[str, Any]:
    image, task = await outcome(service, uri, **more)
    assert (image["status"], image["size"], image["checksum"]) == ("active", len(DATA), MD5), task["message"]
    assert task["status"] == "success"
    return image


class TestRefusedAtOnce:
    @pytest.mark.parametrize(
        "uri",
        [
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            "ftp://images.example/x",
            "gopher://images.example/x",
            "swift+config://a/b/c",
            "//images.example/x",
            "http:/images.example/x",
            "http://",
            "x",
            "http://images.example:22/x",
            "http://images.example:0/x",
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/x",
            "http://0x7f000001/x",
            "http://0x7f.0x0.0x0.0x1/x",
            "http://017700000001/x",
            "http://0177.0.0.1/x",
            "http://127.0.0.1.:80/x",
            "http://0.0.0.0/x",
            "http://0/x",
            "http://[::1]/x",
            "http://[::]/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://[::ffff:7f00:1]/x",
            "http://[::127.0.0.1]/x",
            "http://[64:ff9b::7f00:1]/x",
            "http://[2002:7f00:1::]/x",
            "http://[fe80::1]/x",
            "http://[fe80::1%25lo]/x",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:169.254.169.254]/x",
            "http://10.0.0.1/x",
            "http://172.16.5.4/x",
            "http://192.168.1.1/x",
            "http://100.64.0.1/x",
            "http://198.18.0.1/x",
            "http://[fd00::1]/x",
            "http://224.0.0.1/x",
            "http://255.255.255.255/x",
            "http://localhost/x",
            "http://LOCALHOST./x",
            "http://nothing.invalid/x",
            "http://8.8.8.8@127.0.0.1/x",
            "http://8.8.8.8\\@127.0.0.1/x",
            "http://8.8.8.8#@127.0.0.1/x\n",
            "http://127。0。0。1/x",
            "http://images.example/\r\nX-Evil: y",
        ],
    )
    async def test_by_the_filter(self, settings: Settings, uri: str) -> None:
        settings = replace(settings, imports=replace(settings.imports, uri_filter=UriFilter()))
        async with running_service(settings) as service:
            image = await service.create()
            status, message = await post(service, image, uri)
            assert status == 400
            assert message.startswith("URI for web-download does not pass filtering: ")
            assert (await service.show(image["id"]))["status"] == "queued"
            assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/tasks")).json()["tasks"] == []

    async def test_names_of_the_hosts_file(self, settings: Settings) -> None:
        """They resolve like others, and what they lead to is judged like others."""
        names = [
            name
            for line in Path("/etc/hosts").read_text().splitlines()
            if line.startswith("127.")
            for name in line.partition("#")[0].split()[1:]
        ]
        settings = replace(settings, imports=replace(settings.imports, uri_filter=UriFilter()))
        async with running_service(settings) as service:
            image = await service.create()
            for name in {*names, "localhost"}:
                assert (await post(service, image, f"http://{name}/x"))[0] == 400
        uri_filter = UriFilter(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
        settings = replace(settings, imports=replace(settings.imports, uri_filter=uri_filter))
        async with running_service(settings) as service:
            for name in {*names, "localhost"}:
                assert (await post(service, await service.create(), f"http://{name}/x"))[0] == 202

    async def test_the_password_is_not_repeated(self, service: Service) -> None:
        image = await service.create()
        status, message = await post(service, image, "http://user:s3cr3t@images.example/x")
        assert status == 400
        assert "s3cr3t" not in message
        assert "http://images.example/x" in message

    @pytest.mark.parametrize("uri", [None, 5, "", ["http://x"], "http://images.example/" + "x" * 5000])
    async def test_no_uri(self, service: Service, uri: Any) -> None:
        image = await service.create()
        assert (await post(service, image, uri))[0] == 400

    async def test_networks_that_are_allowed(self, settings: Settings, web: LyingServer) -> None:
        """They are in no list of hosts, so that other hosts stay allowed."""
        networks = (ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16"))
        uri_filter = UriFilter(allowed_ports=(), allowed_networks=networks)
        settings = replace(settings, imports=replace(settings.imports, uri_filter=uri_filter))
        async with running_service(settings) as service:
            await success(service, web.url())
            image = await service.create()
            assert (await post(service, image, "http://10.1.2.3/x"))[0] == 202
            assert (await post(service, await service.create(), "http://10.2.2.3/x"))[0] == 400


class TestRedirects:
    @pytest.fixture
    def leading(self) -> Iterator[WebServer]:
        with WebServer() as server:
            yield server

    async def test_are_followed(self, service: Service, leading: WebServer, web: LyingServer) -> None:
        await success(service, leading.url(f"/redirect-to/{web.url()}"))

    @pytest.mark.parametrize(
        "target",
        [
            "file:///etc/passwd",
            "ftp://images.example/x",
            "http://169.254.169.254/latest",
            "http://10.0.0.1/x",
            "http://[::ffff:10.0.0.1]/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://0177.0.0.1/x",
            "http://[::1]/x",
            "http://images.example/x",
        ],
    )
    async def test_are_judged_like_the_uri(self, service: Service, leading: WebServer, target: str) -> None:
        message = await failure(service, leading.url(f"/redirect-to/{target}"))
        assert "does not pass filtering" in message

    async def test_ports_too(self, settings: Settings, leading: WebServer, web: LyingServer) -> None:
        uri_filter = replace(HERE, allowed_ports=(leading.port,))
        settings = replace(settings, imports=replace(settings.imports, uri_filter=uri_filter))
        async with running_service(settings) as service:
            await failure(service, leading.url(f"/redirect-to/{web.url()}"))
        assert web.requests == []

    async def test_names_too(self, settings: Settings, leading: WebServer, web: LyingServer) -> None:
        """The name passes, but where it leads to does not."""
        uri_filter = UriFilter(allowed_hosts=("127.0.0.1",), allowed_ports=())
        settings = replace(settings, imports=replace(settings.imports, uri_filter=uri_filter))
        async with running_service(settings) as service:
            await failure(service, leading.url(f"/redirect-to/{web.url(host='localhost')}"))
        assert web.requests == []

    async def test_without_end(self, service: Service, leading: WebServer) -> None:
        assert "redirects" in await failure(service, leading.url("/redirect/9/plain/x"))

    async def test_credentials_stay_where_they_belong(
        self, service: Service, leading: WebServer, web: LyingServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        uri = leading.url(f"/redirect-to/{web.url()}", host="user:s3cr3t@127.0.0.1")
        image, task = await outcome(service, uri)
        assert image["status"] == "active"
        assert leading.heads[0]["authorization"].startswith("Basic ")
        assert "authorization" not in web.heads[0]
        assert "s3cr3t" not in str(image) + str(task) + caplog.text


class TestWhatServersDo:
    async def test_breaks_are_taken_up(self, service: Service, web: LyingServer) -> None:
        web.behave(DATA, Manners(breaks=[1_000_000, 1_000_000, 500_000]))
        await success(service, web.url())
        assert [method for method, _ in web.requests] == ["GET"] * 4 + ["HEAD"]

    @pytest.mark.parametrize(
        "manners",
        [
            Manners(breaks=[1000, 0]),
            Manners(breaks=[1000, 0], framing="chunked"),
            Manners(breaks=[1000], knows_parts=False),
            Manners(breaks=[1000], etag=None),
            Manners(breaks=[1000], versions=[(DATA, '"one"'), (OTHER, '"two"')]),
            Manners(framing="chunked", head_length=len(DATA) + 1),
            Manners(framing="close", head_length=len(DATA) + 1),
            Manners(headers={"Content-Encoding": "br"}),
            Manners(failures=[404]),
            Manners(failures=[403]),
            Manners(failures=[503, 503]),
            Manners(failures=[204]),
        ],
        ids=str,
    )
    async def test_not_whole(self, service: Service, web: LyingServer, manners: Manners) -> None:
        web.behave(DATA, manners)
        await failure(service, web.url())

    async def test_nobody_there(self, service: Service) -> None:
        assert "cannot be reached" in await failure(service, f"http://127.0.0.1:{free_port()}/x")

    async def test_it_can_be_tried_again(self, service: Service, web: LyingServer) -> None:
        web.behave(DATA, Manners(failures=[404]))
        image = await service.create()
        for status in ("queued", "active"):
            assert await post(service, image, web.url()) == (202, "")
            assert await job_worker(service.services).work_off() == 1
            assert (await service.show(image["id"]))["status"] == status


class TestWhatIsExpected:
    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    @pytest.mark.parametrize(
        "expected",
        [
            {"size": len(DATA)},
            {"checksum": MD5.upper()},
            {"os_hash_algo": "sha256", "os_hash_value": SHA256},
            {"size": len(DATA), "checksum": MD5, "os_hash_algo": "sha256", "os_hash_value": SHA256},
        ],
        ids=lambda expected: "+".join(expected),
    )
    async def test_and_comes(self, service: Service, web: LyingServer, framing: str, expected: dict[str, Any]) -> None:
        web.behave(DATA, Manners(framing=framing))
        image = await success(service, web.url(), **expected)
        assert image["os_hash_algo"] == "sha512"

    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    @pytest.mark.parametrize(
        "expected",
        [
            {"size": len(DATA) - 1},
            {"size": len(DATA) + 1},
            {"size": 0},
            {"checksum": "0" * 32},
            {"os_hash_algo": "sha256", "os_hash_value": "0" * 64},
            {"checksum": MD5, "os_hash_algo": "sha256", "os_hash_value": "0" * 64},
            {"checksum": "0" * 32, "os_hash_algo": "sha256", "os_hash_value": SHA256},
        ],
        ids=lambda expected: "+".join(expected),
    )
    async def test_and_does_not_come(
        self, service: Service, web: LyingServer, framing: str, expected: dict[str, Any]
    ) -> None:
        web.behave(DATA, Manners(framing=framing))
        await failure(service, web.url(), **expected)

    async def test_a_hash_makes_up_for_versions(self, service: Service, web: LyingServer) -> None:
        """Where a server does not tell versions apart: two that were put together show by the hash."""
        web.behave(DATA, Manners(breaks=[1000], etag=None))
        await success(service, web.url(), checksum=MD5)
        web.behave(DATA, Manners(breaks=[1000], etag=None, versions=[(OTHER, None), (DATA, None)]))
        assert "MD5" in await failure(service, web.url(), checksum=MD5)

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    async def test_the_cap(self, settings: Settings, web: LyingServer, framing: str) -> None:
        settings = replace(settings, quotas=QuotaSettings(image_size_cap_bytes=len(DATA) - 1))
        web.behave(DATA, Manners(framing=framing))
        async with running_service(settings) as service:
            assert "allowed" in await failure(service, web.url())


async def test_through_a_proxy(settings: Settings) -> None:
    """It knows names that are not known here, so they pass at once; what their text tells is judged still."""
    with WebServer() as proxy:
        proxy.put(DATA, name="x")
        settings = replace(
            settings,
            imports=replace(settings.imports, uri_filter=UriFilter()),
            fetch=FetchSettings(proxies={"http": f"http://user:s3cr3t@127.0.0.1:{proxy.port}"}),
        )
        async with running_service(settings) as service:
            await success(service, "http://images.invalid/plain/x")
            for uri in ("http://localhost/x", "http://169.254.169.254/x", "http://[::1]/x", "http://10.0.0.1/x"):
                assert (await post(service, await service.create(), uri))[0] == 400
        assert proxy.requests == [(method, "http://images.invalid/plain/x") for method in ("GET", "HEAD")]
        assert proxy.heads[0]["proxy-authorization"] == "Basic dXNlcjpzM2NyM3Q="


async def test_a_running_one_can_be_stopped(service: Service, web: LyingServer) -> None:
    """A worker that ends gives the job back at once, also while the server is silent."""
    web.behave(DATA, Manners(breaks=[1000], keeps_silent=True))
    image = await service.create()
    assert await post(service, image, web.url()) == (202, "")
    task = asyncio.create_task(job_worker(service.services).run())
    await asyncio.to_thread(web.gone_silent.wait)
    task.cancel()
    await asyncio.wait({task}, timeout=30)
    assert task.done()
