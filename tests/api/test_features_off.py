"""Routes of features that the operator has switched off, or that no site has yet, which is told in the same words."""

from dataclasses import replace

import pytest

from blick.conf.settings import Settings
from tests.support.service import OCTETS, Service

UNKNOWN = "00000000-0000-4000-8000-000000000000"
NO_CACHE = "Caching via API is not supported at this site."
PLAIN = {"accept": "text/plain"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, api=replace(settings.api, enabled_import_methods=()))


@pytest.mark.parametrize("name", ["web-download", "glance-direct", "copy-image", "glance-download", "nope"])
async def test_an_import_by_any_method_is_refused(service: Service, name: str) -> None:
    image = await service.create()
    answer = await service.call(
        "owner", "POST", f"/v2/images/{image['id']}/import", json={"method": {"name": name}}, headers=PLAIN
    )
    assert answer.status_code == 400
    assert f"Unknown import method name '{name}'." in answer.text
    assert (await service.show(image["id"]))["status"] == "queued"


@pytest.mark.parametrize("headers", [OCTETS, {"content-type": "text/plain"}])
async def test_staging_is_not_available(service: Service, headers: dict[str, str]) -> None:
    answer = await service.call("owner", "PUT", f"/v2/images/{UNKNOWN}/stage", content=b"data", headers=headers | PLAIN)
    assert answer.status_code == 404
    assert "'glance-direct' method is not available at this site." in answer.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The request has no body"),
        (b"{}", "requires a 'method' field"),
        (b"[]", "requires a 'method' field"),
        (b'{"method": {}}', "requires a 'name' field"),
        (b'{"method": "web-download"}', "requires a 'name' field"),
        (b'{"method": {"name": 7}}', "requires a 'name' field"),
        (b"{", "Malformed JSON"),
    ],
)
async def test_a_malformed_import_says_what_is_missing(service: Service, body: bytes, text: str) -> None:
    answer = await service.call("owner", "POST", f"/v2/images/{UNKNOWN}/import", content=body, headers=PLAIN)
    assert answer.status_code == 400
    assert text in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/cache"),
        ("DELETE", "/v2/cache"),
        ("PUT", f"/v2/cache/{UNKNOWN}"),
        ("DELETE", f"/v2/cache/{UNKNOWN}"),
        ("GET", f"/v2/cache/nodes/{UNKNOWN}"),
        ("POST", "/v2/cache/clean"),
        ("POST", "/v2/cache/prune"),
    ],
)
async def test_there_is_no_cache(service: Service, method: str, path: str) -> None:
    for who in ("admin", "owner"):
        answer = await service.call(who, method, path, headers=PLAIN)
        assert answer.status_code == 404
        assert NO_CACHE in answer.text


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", f"/v2/images/{UNKNOWN}/import", "POST"),
        ("GET", f"/v2/images/{UNKNOWN}/stage", "PUT"),
        ("POST", "/v2/info/import", "GET"),
        ("POST", "/v2/info/stores", "GET"),
        ("PUT", "/v2/info/stores/detail", "GET"),
        ("POST", "/v2/cache", "GET, DELETE"),
        ("GET", f"/v2/cache/{UNKNOWN}", "DELETE, PUT"),
        ("POST", f"/v2/cache/nodes/{UNKNOWN}", "GET"),
        ("GET", "/v2/cache/clean", "POST"),
        ("PUT", "/v2/tasks", "GET, POST"),
        ("PUT", f"/v2/tasks/{UNKNOWN}", "GET, DELETE"),
        ("GET", f"/v2/stores/file/{UNKNOWN}", "DELETE"),
    ],
)
async def test_their_other_methods_are_not_allowed(service: Service, method: str, path: str, allow: str) -> None:
    answer = await service.call("owner", method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow


async def test_there_are_no_single_copies(service: Service) -> None:
    path = f"/v2/stores/file/{UNKNOWN}"
    for who in ("admin", "owner"):
        answer = await service.call(who, "DELETE", path, headers=PLAIN)
        assert answer.status_code == 404
        assert "at this site" in answer.text
    assert (await service.call("anonymous", "DELETE", path)).status_code == 401


async def test_nobody_is_told_anything_without_a_token(service: Service) -> None:
    for path in ("/v2/info/import", "/v2/info/stores", "/v2/cache", "/v2/info/stores/detail"):
        assert (await service.call("anonymous", "GET", path)).status_code == 401
