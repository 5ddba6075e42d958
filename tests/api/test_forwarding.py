"""What another node gets of a request about data that it has staged, and what the caller gets of its answer.

Two real nodes: see tests/process/test_forwarding.py.
"""

from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import update

from blick.conf.settings import Settings
from blick.db import images
from blick.db.tables import image_properties
from blick.model.image import STAGE_HOST
from tests.support.callers import HEADERS
from tests.support.scripted_server import ScriptedServer, http_answer, scripted_server
from tests.support.server import free_port
from tests.support.service import OCTETS, Service

TOKENS = {"x-auth-token": "the-token", "x-storage-token": "the-other-token", "x-service-token": "a-service-token"}
OTHERS = {"cookie": "c", "x-forwarded-for": "10.0.0.1", "x-identity-status": "Confirmed", "authorization": "Basic x"}
ANSWER = http_answer(
    "401 Unauthorized", b"who?", content_type="text/plain", www_authenticate="Keystone", set_cookie="c", server="s",
    x_openstack_request_id="req-theirs",
)  # fmt: skip


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, imports=replace(settings.imports, node_url="http://node-one:9292"))


async def staged_at(service: Service, url: str) -> str:
    """An image whose staged data is at that node, as the record has it."""
    image_id = str((await service.create())["id"])
    path = f"/v2/images/{image_id}/stage"
    assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 204
    mine = update(image_properties).where(image_properties.c.image_id == image_id)
    await service.services.database.write(lambda connection: connection.execute(mine.values(value=url)).rowcount)
    return image_id


async def begin(service: Service, image_id: str, headers: Mapping[str, str]) -> httpx.Response:
    body = {"method": {"name": "glance-direct"}, "stores": ["ä"]}
    return await service.call("owner", "POST", f"/v2/images/{image_id}/import", json=body, headers=dict(headers))


def seen(server: ScriptedServer) -> tuple[str, dict[str, str], bytes]:
    """Request line, headers and body of the one request that came."""
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    return line, {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}, body


async def test_the_callers_tokens_and_wishes_go_along_and_nothing_else(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with scripted_server(ANSWER) as server:
        image_id = await staged_at(service, server.url)
        asked = {**TOKENS, **OTHERS, "accept": "text/plain", "x-openstack-request-id": "req-mine"}
        answer = await begin(service, image_id, asked)
        line, headers, body = seen(server)
    assert line == f"POST /v2/images/{image_id}/import HTTP/1.1"
    known = {**TOKENS, "accept": "text/plain", "x-openstack-request-id": "req-mine", "x-blick-forwarded": "1"}
    assert {name: headers.get(name) for name in known} == known
    assert not headers.keys() & (OTHERS.keys() | HEADERS["owner"].keys())
    assert body == '{"method":{"name":"glance-direct"},"stores":["ä"]}'.encode()
    assert (answer.status_code, answer.text) == (401, "who?")
    assert answer.headers.multi_items() == [
        ("content-type", "text/plain"),
        ("www-authenticate", "Keystone"),
        ("x-openstack-request-id", "req-theirs"),
        ("content-length", "4"),
    ]
    assert "token" not in caplog.text


async def test_what_was_forwarded_already_is_not_forwarded_again(service: Service) -> None:
    with scripted_server(ANSWER) as server:
        image_id = await staged_at(service, server.url)
        forwarded = {"x-blick-forwarded": "1"}
        # The data is here, after all.
        assert (await begin(service, image_id, forwarded)).status_code == 202
        path = f"/v2/images/{image_id}"
        assert (await service.call("owner", "DELETE", path, headers=forwarded)).status_code == 204
        assert server.requests == []


async def test_only_data_that_was_staged_is_asked_for_elsewhere(service: Service) -> None:
    """Not by those who may not have it done here, and not for other methods."""
    with scripted_server(ANSWER) as server:
        image_id = await staged_at(service, server.url)
        for who, status in (("other", 404), ("reader", 403), ("roleless", 404)):
            path = f"/v2/images/{image_id}"
            assert (await service.call(who, "DELETE", path)).status_code == status
            body = {"method": {"name": "glance-direct"}}
            assert (await service.call(who, "POST", f"{path}/import", json=body)).status_code == status
        body = {"method": {"name": "web-download", "uri": "http://127.0.0.1/x"}}
        assert (await service.call("owner", "POST", f"{path}/import", json=body)).status_code == 409
        assert server.requests == []


async def test_an_image_that_is_protected_here_is_protected_there(service: Service) -> None:
    with scripted_server(ANSWER) as server:
        image_id = await staged_at(service, server.url)
        change = [{"op": "replace", "path": "/protected", "value": True}]
        media_type = {"content-type": "application/openstack-images-v2.1-json-patch"}
        patched = await service.call("owner", "PATCH", f"/v2/images/{image_id}", json=change, headers=media_type)
        assert patched.status_code == 200
        assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 403
        assert server.requests == []


class TestWithoutAName:
    """A node that nobody gave a name."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=replace(settings.imports, node_url=""))

    async def test_it_serves_what_it_has(self, service: Service) -> None:
        here, away = [await self.said_to_be_elsewhere(service) for _ in range(2)]
        (service.services.settings.imports.staging_dir / away).unlink()
        assert (await begin(service, here, {})).status_code == 202
        assert (await begin(service, away, {})).status_code == 504
        assert (await service.call("owner", "DELETE", f"/v2/images/{away}")).status_code == 204

    async def said_to_be_elsewhere(self, service: Service) -> str:
        image_id = str((await service.create())["id"])
        path = f"/v2/images/{image_id}/stage"
        assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 204
        noted = {STAGE_HOST: f"http://127.0.0.1:{free_port()}"}
        await service.services.database.write(images.set_properties, image_id, noted, service.services.now())
        return image_id
