"""Errors: their shapes, their order, request ids, methods and bodies (spec: images-api §1)."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from blick.conf.settings import Settings
from blick.http import errors as http_errors
from blick.model import errors
from tests.support.service import PATCH_2_1, Service

UNKNOWN = "/v2/images/00000000-0000-4000-8000-000000000000"
TEXT = "No image found with ID 00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("accept", [None, "", "text/plain", "application/xml", "image/png"])
async def test_plain_shape(service: Service, accept: str | None) -> None:
    del service.client.headers["accept"]
    response = await service.call("owner", "GET", UNKNOWN, headers={} if accept is None else {"accept": accept})
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert response.text == f"404 Not Found\n\n{TEXT}\n\n   "


@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/html, application/json;q=0.5"])
async def test_html_shape(service: Service, accept: str) -> None:
    response = await service.call("owner", "GET", UNKNOWN, headers={"accept": accept})
    assert response.headers["content-type"] == "text/html; charset=UTF-8"
    assert response.text == (
        "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n"
        f"  {TEXT}<br /><br />\n\n\n\n </body>\n</html>"
    )


@pytest.mark.parametrize("accept", ["application/json", "application/json, */*;q=0.1", "application/json, */*"])
async def test_json_shape(service: Service, accept: str) -> None:
    response = await service.call("owner", "GET", UNKNOWN, headers={"accept": accept})
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"message": TEXT, "code": "404 Not Found", "title": "Not Found"}


async def test_some_answers_say_something_general_first(service: Service) -> None:
    plain, page, document = [
        await service.call("owner", "PUT", UNKNOWN, headers={"accept": accept})
        for accept in ("text/plain", "*/*", "application/json")
    ]
    said = "The method PUT is not allowed for this resource."
    assert plain.text == f"405 Method Not Allowed\n\n{said} \n\n "
    assert f"<h1>405 Method Not Allowed</h1>\n  {said}\n<br /><br />\n\n </body>" in page.text
    assert document.json()["message"] == said
    text = {"accept": "text/plain", "content-type": "text/plain"}
    refused = await service.call("owner", "PUT", f"{UNKNOWN}/file", headers=text, content=b"x")
    assert refused.text.startswith("415 Unsupported Media Type\n\nThe request media type is not supported by this")
    assert refused.text.endswith(" \n\n The request body must be of type application/octet-stream.")


async def test_markup_of_the_caller_is_escaped(service: Service) -> None:
    response = await service.call("owner", "GET", "/v2/images/<script>", headers={"accept": "text/html"})
    assert response.status_code == 404
    assert "<script>" not in response.text
    assert "&lt;script&gt;" in response.text


def test_every_error_has_a_status() -> None:
    def descendants(kind: type[errors.BlickError]) -> list[type[errors.BlickError]]:
        return [kind, *[each for child in kind.__subclasses__() for each in descendants(child)]]

    never_answered = {errors.StartRefused, errors.WriterClosed}  # of the start and of a programmer's error
    declared = {each for each in vars(errors).values() if isinstance(each, type)}
    kinds = {kind for kind in descendants(errors.BlickError) if kind in declared}
    assert kinds == declared
    assert kinds - never_answered <= http_errors.STATUS.keys()
    assert http_errors.STATUS.keys() <= kinds
    assert set(http_errors.STATUS.values()) <= http_errors.REASON.keys()


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (errors.TooManyRequests("slow", 7), 429, ("retry-after", "7")),
        (errors.RangeNotSatisfiable("no", 5), 416, ("content-range", "bytes */5")),
        (errors.UnsupportedMediaType("no", ("a/b", "c/d")), 415, ("accept-patch", "a/b, c/d")),
        (errors.StoreFull("s"), 413, ("content-type", "text/plain; charset=UTF-8")),
        (errors.StoreDenied("s"), 503, ("content-type", "text/plain; charset=UTF-8")),
        (errors.WriterClosed("s"), 500, ("content-type", "text/plain; charset=UTF-8")),
        (errors.Gone("x"), 410, ("content-type", "text/plain; charset=UTF-8")),
    ],
)
def test_headers_of_errors(error: errors.BlickError, status: int, header: tuple[str, str]) -> None:
    response = http_errors.from_error(error, "")
    assert response.status_code == status
    assert response.headers[header[0]] == header[1]


# Request ids


@pytest.mark.parametrize(
    ("given", "echoed"), [("req-abc", "req-abc"), ("abc", "req-abc"), ("x" * 64, "req-" + "x" * 64)]
)
async def test_request_id_is_echoed(service: Service, given: str, echoed: str) -> None:
    for path in ("/v2/images", UNKNOWN, "/v2/nowhere"):
        response = await service.call("owner", "GET", path, headers={"x-openstack-request-id": given})
        assert response.headers.get_list("x-openstack-request-id") == [echoed]


async def test_request_id_is_made(service: Service) -> None:
    first = await service.call("owner", "GET", "/v2/images")
    second = await service.call("owner", "PUT", "/v2/images")
    assert second.status_code == 405
    ids = {response.headers["x-openstack-request-id"] for response in (first, second)}
    assert len(ids) == 2
    assert all(each.startswith("req-") and len(each) == 40 for each in ids)


async def test_request_id_too_long(service: Service) -> None:
    response = await service.call("owner", "GET", "/v2/images", headers={"x-openstack-request-id": "x" * 65})
    assert response.status_code == 431


async def test_unauthenticated(service: Service) -> None:
    for method, path in (("GET", "/v2/images"), ("POST", "/v2/images"), ("GET", "/v2/nowhere"), ("PUT", UNKNOWN)):
        response = await service.call("anonymous", method, path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Keystone uri="http://images.test"'
        assert "x-openstack-request-id" not in response.headers


# Methods and paths


NOT_ALLOWED = [
    ("PUT", "/v2/images", "GET, POST"),
    ("HEAD", "/v2/images", "GET, POST"),
    ("TRACE", "/v2/images", "GET, POST"),
    ("INVENTED", "/v2/images", "GET, POST"),
    ("POST", UNKNOWN, "GET, PATCH, DELETE"),
    ("HEAD", UNKNOWN, "GET, PATCH, DELETE"),
    ("POST", f"{UNKNOWN}/file", "GET, PUT"),
    ("GET", f"{UNKNOWN}/actions/deactivate", "POST"),
    ("GET", f"{UNKNOWN}/actions/reactivate", "POST"),
    ("GET", f"{UNKNOWN}/tags/x", "PUT, DELETE"),
    ("PUT", f"{UNKNOWN}/members", "GET, POST"),
    ("PATCH", f"{UNKNOWN}/members/p2", "GET, PUT, DELETE"),
    ("POST", "/v2/schemas/image", "GET"),
    ("HEAD", "/v2/schemas/tasks", "GET"),
]


async def test_method_not_allowed(service: Service) -> None:
    for method, path, allow in NOT_ALLOWED:
        response = await service.call("owner", method, path)
        assert response.status_code == 405, (method, path)
        assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/v2/nowhere",
        "/v2/images/",
        f"{UNKNOWN}/",
        f"{UNKNOWN}/actions/explode",
        "/v2/schemas/nothing",
        "/v2/images/a/b/c",
    ],
)
async def test_unknown_path(service: Service, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
        assert (await service.call("owner", method, path)).status_code == 404
    assert (await service.call("owner", "INVENTED", path)).status_code == 501


async def test_repeated_slashes_are_one(service: Service) -> None:
    image = await service.create()
    assert (await service.call("owner", "GET", f"/v2///images//{image['id']}")).status_code == 200


async def test_options_is_for_everyone(service: Service) -> None:
    for path in ("/v2/images", "/v2/nowhere", "/", "/anything"):
        response = await service.call("anonymous", "OPTIONS", path)
        assert (response.status_code, response.content) == (200, b"")
        assert "allow" not in response.headers


async def test_path_that_is_not_utf8(service: Service) -> None:  # D2
    path = httpx.URL("http://images.test").copy_with(raw_path=b"/v2/images/%ff%fe")
    assert (await service.call("owner", "GET", str(path))).status_code == 400
    nul = httpx.URL("http://images.test").copy_with(raw_path=b"/v2/images/a%00b")
    assert (await service.call("owner", "GET", str(nul))).status_code == 400


async def test_query_that_is_not_utf8(service: Service) -> None:
    assert (await service.call("owner", "GET", "/v2/images?name=%ff")).status_code == 400


async def test_an_id_that_cannot_be(service: Service) -> None:
    for image_id in ("x", "not-a-uuid", "0" * 37, "ä", "%F0%9F%98%80", "a b", "..%2e"):
        assert (await service.call("owner", "GET", f"/v2/images/{image_id}")).status_code == 404
        assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 404


# Bodies


async def test_body_that_is_ignored(service: Service) -> None:
    assert (await service.call("owner", "GET", "/v2/images", content=b"{}")).status_code == 200
    assert (await service.call("owner", "GET", "/v2/schemas/task", content=b"{}")).status_code == 200  # D7


async def test_chunked_counts_as_a_body_where_bodies_are_usual(service: Service) -> None:
    chunked = {"transfer-encoding": "chunked"}
    image = await service.create_active()
    action = f"/v2/images/{image['id']}/actions/deactivate"
    assert (await service.call("owner", "POST", action, headers=chunked)).status_code == 400
    assert (await service.call("owner", "GET", f"/v2/images/{image['id']}", headers=chunked)).status_code == 200


BAD_JSON: list[Any] = [b"", b"{", b'{"name": }', b"null", b"1", b'"text"', b"true", b'{"name": "\xff"}', b"[" * 100_000]


async def test_bad_json(service: Service) -> None:
    """400 comes before the image is looked up."""
    for method, path, headers in (
        ("POST", "/v2/images", {}),
        ("PATCH", UNKNOWN, PATCH_2_1),
        ("POST", f"{UNKNOWN}/members", {}),
        ("PUT", f"{UNKNOWN}/members/p2", {}),
    ):
        for body in BAD_JSON:
            response = await service.call("owner", method, path, content=body, headers=headers)
            assert response.status_code == 400, (method, path, body[:20])


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json; charset=utf-8"])
async def test_content_type_of_json_is_not_looked_at(service: Service, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await service.call("owner", "POST", "/v2/images", content=b'{"name": "a", "name": "b"}', headers=headers)
    assert response.status_code == 201
    assert response.json()["name"] == "b"  # of double keys the last


async def test_json_is_utf8_and_not_escaped(service: Service) -> None:
    image = await service.create(name="Bär 日本", größe="ö")
    response = await service.call("owner", "GET", f"/v2/images/{image['id']}")
    assert response.headers["content-type"] == "application/json"
    assert "Bär 日本".encode() in response.content
    assert response.json()["größe"] == "ö"


class TestSmallLimit:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, json_body_max_bytes=100, max_request_id_length=0))

    async def test_json_over_the_limit(self, service: Service) -> None:
        body = json.dumps({"name": "x" * 100})
        assert (await service.call("owner", "POST", "/v2/images", content=body)).status_code == 413

    async def test_request_id_without_limit(self, service: Service) -> None:
        response = await service.call("owner", "GET", "/v2/images", headers={"x-openstack-request-id": "x" * 500})
        assert response.headers["x-openstack-request-id"] == "req-" + "x" * 500


ANONYMOUS_CHANGES: list[tuple[str, str, bytes, dict[str, str]]] = [
    ("POST", "/v2/images", b"{}", {}),
    ("PATCH", UNKNOWN, b"[]", PATCH_2_1),
    ("DELETE", UNKNOWN, b"", {}),
    ("PUT", f"{UNKNOWN}/file", b"x", {"content-type": "application/octet-stream"}),
    ("PUT", f"{UNKNOWN}/tags/x", b"", {}),
    ("DELETE", f"{UNKNOWN}/tags/x", b"", {}),
    ("POST", f"{UNKNOWN}/members", b'{"member": "p2"}', {}),
    ("POST", f"{UNKNOWN}/locations", b'{"url": "https://images.test/x"}', {}),
    ("PUT", f"{UNKNOWN}/members/p2", b'{"status": "accepted"}', {}),
    ("DELETE", f"{UNKNOWN}/members/p2", b"", {}),
    ("POST", f"{UNKNOWN}/actions/deactivate", b"", {}),
    ("POST", f"{UNKNOWN}/actions/reactivate", b"", {}),
]


class TestAnonymous:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, allow_anonymous_access=True))

    async def test_reads_are_up_to_policy(self, service: Service) -> None:
        image = await service.create("admin", visibility="public")
        assert (await service.call("anonymous", "GET", "/v2/images")).status_code == 403
        assert (await service.call("anonymous", "GET", f"/v2/images/{image['id']}")).status_code == 404
        assert (await service.call("anonymous", "GET", "/v2/schemas/image")).status_code == 200

    async def test_changes_are_refused(self, service: Service) -> None:
        for method, path, body, headers in ANONYMOUS_CHANGES:
            response = await service.call("anonymous", method, path, content=body, headers=headers)
            assert response.status_code == 403, (method, path)
            assert "Read-only" in response.text

    async def test_a_bad_body_comes_first(self, service: Service) -> None:
        assert (await service.call("anonymous", "POST", "/v2/images", content=b"[]")).status_code == 400

    async def test_rules_can_let_anyone_look(self, service: Service, settings: Settings) -> None:
        image = await service.create("admin", visibility="public")
        rules = 'get_images: ""\nget_image: ""\n'
        settings.policy.policy_file.write_text(rules)
        listed = (await service.call("anonymous", "GET", "/v2/images")).json()["images"]
        assert [each["id"] for each in listed] == [image["id"]]
