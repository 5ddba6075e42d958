"""Whatever a client sends: never a 5xx, never a traceback, and what was accepted reads back as it was sent.

The requests are generated, the same ones in every run.
"""

import json
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blick.conf.settings import Settings
from tests.support.databases import on_every_engine
from tests.support.raw_requests import Headers, RawClient
from tests.support.service import OCTETS, PATCH_2_0, PATCH_2_1, Service

pytestmark = on_every_engine

# One service serves all examples of a test; they make images of their own.
generated = settings(
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def as_bytes(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


JSON_PATCH = {"2.0": as_bytes(PATCH_2_0), "2.1": as_bytes(PATCH_2_1)}


@pytest.fixture
def client(service: Service, caplog: pytest.LogCaptureFixture) -> RawClient:
    caplog.set_level(logging.INFO, "blick")
    return RawClient(service.app, caplog.records)


# What may stand somewhere

ODD_TEXTS = (
    "", " ", "a", "A", "a ", "é", "e\u0301", "ß", "ss", "İ", "\x00", "a\x00b", "\ud800", "\udfff", "😀",
    "\uffff", "\r\n",
    "'; DROP TABLE images; --", "%", "_", "\\", '"', "..", "/", "//", "a/b", "~", "~2", "~0", "{}", "%s", "\u202e",
    "x" * 255, "x" * 256, "ä" * 255, "-", "0", "1e999", "NaN", "null", "true", "os_glance_x", "os_glance",
    "id", "deleted",
)  # fmt: skip
texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=30), st.text(st.characters(), max_size=5))
numbers = st.one_of(
    st.sampled_from([0, -0.0, 5.0, 0.5, -1, 2**31 - 1, 2**31, 2**63, 2**70, -(2**70), 10**400, 1e308, float("nan")]),
    st.integers(),
    st.floats(),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
ATTRIBUTES = (
    "id", "name", "status", "visibility", "owner", "protected", "os_hidden", "min_disk", "min_ram", "disk_format",
    "container_format", "tags", "locations", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value",
    "created_at", "deleted", "stores", "self", "schema", "kernel_id", "os_distro", "image_id", "extra_properties",
)  # fmt: skip
attributes = st.one_of(st.sampled_from(ATTRIBUTES), texts)
plausible = st.one_of(
    st.sampled_from(
        ["raw", "bare", "shared", "private", "community", "public", "queued", "p1", True, 1, ["t", "T"], []]
    ),
    st.lists(texts, max_size=5),
    texts,
    values,
)
# Escapes keep what no UTF-8 could say; the reader has to cope with the others, which come as they are.
written = st.one_of(
    values.map(lambda value: json.dumps(value).encode()),
    values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
)
queries = st.binary(max_size=40).map(lambda raw: quote(raw, safe="=&+%:,"))


def encoded(text: str) -> bytes:
    """As one part of a path."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="").encode()


URLS = st.one_of(
    texts,
    st.sampled_from(
        ["file:///etc/passwd", "http://", "http://[", "http://127.0.0.1:1/", "swift+config://x", "cinder:"]
    ),
)
LOCATIONS = st.fixed_dictionaries(
    {"url": st.one_of(URLS, values), "metadata": st.one_of(st.dictionaries(texts, texts, max_size=2), values)},
    optional={"validation_data": st.dictionaries(st.sampled_from(["os_hash_algo", "os_hash_value"]), texts)},
)


# Bodies


@generated
@given(st.dictionaries(attributes, plausible, max_size=6))
async def test_new_images(client: RawClient, body: dict[str, Any]) -> None:
    answer = await client.ask_well("owner", "POST", b"/v2/images", body=json.dumps(body).encode())
    if answer.status != 201:
        return
    image = answer.json()
    assert (await client.ask_well("owner", "GET", f"/v2/images/{image['id']}".encode())).json() == image
    for name, sent in body.items():
        if name == "tags":
            assert set(image[name]) == set(sent)
        else:
            assert image[name] == sent, name


operations = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace", "remove"]), "path": attributes.map(lambda name: f"/{name}")},
        optional={"value": plausible},
    ),
    st.tuples(st.sampled_from(["add", "replace", "remove"]), attributes, plausible).map(
        lambda given: {given[0]: f"/{given[1]}", "value": given[2]}
    ),
    st.dictionaries(st.sampled_from(["op", "path", "value", "add", "replace", "remove", "from"]), values),
    values,
)


@generated
@given(st.sampled_from(sorted(JSON_PATCH)), st.lists(operations, max_size=4))
async def test_patches(service: Service, client: RawClient, version: str, changes: list[Any]) -> None:
    image = await service.create(first="1", second="2")
    target = f"/v2/images/{image['id']}".encode()
    body = json.dumps(changes).encode()
    answer = await client.ask_well("owner", "PATCH", target, JSON_PATCH[version], body)
    shown = (await client.ask_well("owner", "GET", target)).json()
    if answer.status == 200:
        assert shown == answer.json()
    else:
        assert shown == image


@generated
@given(st.sampled_from(sorted(JSON_PATCH)), attributes, plausible)
async def test_one_change(service: Service, client: RawClient, version: str, name: str, value: Any) -> None:
    """More of these are accepted than of whole lists."""
    image = await service.create(os_distro="x")
    target = f"/v2/images/{image['id']}".encode()
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    operation = "replace" if name in image else "add"
    change = {"op": operation, "path": pointer} if version == "2.1" else {operation: pointer}
    body = json.dumps([{**change, "value": value}]).encode()
    answer = await client.ask_well("owner", "PATCH", target, JSON_PATCH[version], body)
    if answer.status == 200:
        shown = (await client.ask_well("owner", "GET", target)).json()
        assert shown == answer.json()
        key = name.strip()
        assert set(shown[key]) == set(value) if key == "tags" else shown[key] == value


@generated
@given(written)
async def test_any_bytes_as_a_body(service: Service, client: RawClient, body: bytes) -> None:
    image = await service.create(visibility="shared")
    path = f"/v2/images/{image['id']}".encode()
    for method, target, headers in (
        ("POST", b"/v2/images", []),
        ("PATCH", path, JSON_PATCH["2.1"]),
        ("PATCH", path, JSON_PATCH["2.0"]),
        ("POST", path + b"/members", []),
        ("PUT", path + b"/members/p2", []),
        ("POST", path + b"/import", []),
        ("POST", path + b"/locations", []),
        ("PUT", path + b"/stage", as_bytes(OCTETS)),
    ):
        await client.ask_well("admin_service", method, target, headers, body)


@generated
@given(
    st.fixed_dictionaries(
        {"url": st.one_of(texts, texts.map(lambda text: f"http://{text}"), values)},
        optional={
            "validation_data": st.one_of(
                st.dictionaries(st.sampled_from(["os_hash_algo", "os_hash_value", "checksum"]), plausible), values
            ),
            "metadata": values,
        },
    )
)
async def test_locations(service: Service, client: RawClient, body: dict[str, Any]) -> None:
    image = await service.create()
    target = f"/v2/images/{image['id']}/locations".encode()
    answer = await client.ask_well("owner", "POST", target, body=json.dumps(body).encode())
    assert answer.status in (202, 400, 403)


class TestOldLocations:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, show_multiple_locations=True))

    @generated
    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "op": st.sampled_from(["add", "replace", "remove"]),
                    "path": st.sampled_from(
                        ["/locations", "/locations/-", "/locations/0", "/locations/9", "/locations/x"]
                    ),
                    "value": st.one_of(LOCATIONS, st.lists(LOCATIONS, max_size=3), values),
                }
            ),
            max_size=3,
        )
    )
    async def test_patches(self, service: Service, client: RawClient, changes: list[Any]) -> None:
        image = await service.create()
        target = f"/v2/images/{image['id']}".encode()
        answer = await client.ask_well("admin", "PATCH", target, JSON_PATCH["2.1"], json.dumps(changes).encode())
        assert answer.status in (200, 400, 403, 409)
        assert await service.show(image["id"]) == image


# Queries

FILTERS = (
    "limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status", "os_hidden", "protected",
    "name",
    "id", "status", "container_format", "disk_format", "created_at", "updated_at", "size_min", "size_max", "tag",
    "min_ram_min", "owner", "checksum", "size", "virtual_size", "min_disk", "min_ram", "changes-since", "deleted",
    "properties", "locations", "members", "foo_min", "os_distro",
)  # fmt: skip
OPERANDS = (
    "in:a,b", "in:", 'in:"a,b",c', 'in:"', "eq:", "neq:x", "gt:2024-01-01", "lt:0001-01-01T00:00:00+23:59",
    "gte:9999-12-31T23:59:59-23:59", "lte:2024-01-01T00:00:00.123456789Z", "name:asc,size", "asc", "desc",
    "created_at", "all",
    "true", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" * 5000, "1_0", "١", "²",
    "0x10", " 5 ",
    "2024-02-30", "2024-W01", "20240101", "9999-12-31", "0000-01-01",
)  # fmt: skip
filters = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(FILTERS), texts), st.one_of(st.sampled_from(OPERANDS), texts, st.integers().map(str))
    ),
    max_size=5,
)


@generated
@given(filters)
async def test_lists(service: Service, client: RawClient, asked: list[tuple[str, str]]) -> None:
    query = b"&".join(encoded(name) + b"=" + encoded(value) for name, value in asked)
    for who in ("owner", "admin"):
        answer = await client.ask_well(who, "GET", b"/v2/images?" + query)
        assert answer.status in (200, 400, 403)
        if answer.status == 200:
            links = answer.json()
            assert (await client.ask_well(who, "GET", links["first"].encode())).status == 200


@generated
@given(st.sampled_from(FILTERS), st.one_of(st.sampled_from(OPERANDS), texts))
async def test_one_filter(client: RawClient, name: str, value: str) -> None:
    answer = await client.ask_well("owner", "GET", b"/v2/images?" + encoded(name) + b"=" + encoded(value))
    assert answer.status in (200, 400, 403)


@generated
@given(st.binary(max_size=30))
async def test_any_bytes_as_a_query(client: RawClient, query: bytes) -> None:
    assert (await client.ask_well("owner", "GET", b"/v2/images?" + query)).status in (200, 400, 403)


# Paths


@generated
@given(st.one_of(texts.map(encoded), st.binary(min_size=1, max_size=20).map(lambda raw: quote(raw).encode())))
async def test_names_in_paths(service: Service, client: RawClient, name: bytes) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}".encode()
    for method, target in (
        ("GET", b"/v2/images/" + name),
        ("DELETE", b"/v2/images/" + name),
        ("GET", b"/v2/images/" + name + b"/file"),
        ("GET", path + b"/members/" + name),
        ("DELETE", path + b"/members/" + name),
        ("GET", b"/v2/schemas/" + name),
        ("DELETE", b"/v2/cache/" + name),
        ("GET", b"/v2/info/" + name),
        ("GET", b"/v2" + name),
        ("GET", b"/" + name),
        ("GET", b"/v2/" + name),
    ):
        if target not in (b"/v2/images/", b"/v2/images//file"):
            await client.ask_well("owner", method, target)


@generated
@given(texts)
async def test_tags(service: Service, client: RawClient, tag: str) -> None:
    image = await service.create()
    target = f"/v2/images/{image['id']}/tags/".encode() + encoded(tag)
    answer = await client.ask_well("owner", "PUT", target)
    found = (await service.show(image["id"]))["tags"]
    kept = tag.lstrip("/")  # slashes in a row are one, and that ends the part before
    assert found == ([kept] if answer.status == 204 else [])
    if answer.status == 204:
        if kept == kept.strip():  # a filter is trimmed
            listed = await client.ask_well("owner", "GET", b"/v2/images?tag=" + encoded(kept))
            assert image["id"] in [each["id"] for each in listed.json()["images"]]
        assert (await client.ask_well("owner", "DELETE", target)).status == 204
        assert (await service.show(image["id"]))["tags"] == []


@generated
@given(texts)
async def test_members(service: Service, client: RawClient, member: str) -> None:
    image = await service.create()
    target = f"/v2/images/{image['id']}/members".encode()
    answer = await client.ask_well("owner", "POST", target, body=json.dumps({"member": member}).encode())
    listed = (await client.ask_well("owner", "GET", target)).json()["members"]
    assert [each["member_id"] for each in listed] == ([member] if answer.status == 200 else [])
    if answer.status == 200 and "/" not in member:
        shown = await client.ask_well("owner", "GET", target + b"/" + encoded(member))
        assert shown.json() == answer.json()
        assert (await client.ask_well("owner", "DELETE", target + b"/" + encoded(member))).status == 204


# Headers

ODD_HEADERS = (
    b"", b" ", b"0", b"-1", b"+5", b"5.0", b"1e3", b"4" * 5000, b"\xff\xfe", b"\xc2\xb2", b"bytes=0-0", b"bytes=-0",
    b"bytes=5-1", b"bytes=0-1,3-4", b"bytes=a-b", b"bytes", b"bytes 0-1/*", b"bytes */4", b"bytes 0-1/4",
    b"bytes=99999999-",
    b"bytes=" + b"9" * 5000 + b"-", b"bytes 0-" + b"9" * 5000 + b"/*", b"items=0-1", b"application/json",
    b"text/html;q=x",
    b"*/*;q=1e999", b"application/json;q=nan", b",,;;==", b"application/vnd.openstack.images-v2.3", b"req-",
    b"r" * 64, b"r" * 65,
    b"application/octet-stream; x=y", b"application/openstack-images-v2.1-json-patch;charset=utf-8", b"{",
    b"[]", b"a\tb",
)  # fmt: skip
HEADER_NAMES = (
    b"range", b"content-range", b"accept", b"content-type", b"x-openstack-request-id", b"x-openstack-image-size",
    b"x-image-meta-store", b"accept-language", b"if-match", b"if-none-match", b"transfer-encoding",
    b"accept-encoding",
    b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"host", b"origin", b"x-service-catalog",
    b"cookie", b"expect",
)  # fmt: skip
headers = st.lists(
    st.tuples(
        st.sampled_from(HEADER_NAMES),
        st.one_of(st.sampled_from(ODD_HEADERS), st.binary(max_size=30).map(lambda raw: raw.translate(None, b"\r\n\0"))),
    ),
    max_size=3,
)


@generated
@given(headers)
async def test_headers(service: Service, client: RawClient, sent: Headers) -> None:
    image = await service.create(tags=["t"])
    path = f"/v2/images/{image['id']}".encode()
    for method, target, body in (
        ("PUT", path + b"/file", b"data"),
        ("GET", path + b"/file", b""),
        ("GET", path, b""),
        ("PATCH", path, b"[]"),
        ("GET", b"/v2/images", b""),
        ("POST", b"/v2/images", b"{}"),
        ("GET", b"/v2/images/nothing", b""),
        ("GET", b"/", b""),
        ("GET", b"/healthcheck", b""),
        ("GET", b"/openapi.json", b""),
    ):
        await client.ask_well("owner", method, target, sent, body)


@generated
@given(st.sampled_from([b"range", b"content-range"]), st.sampled_from(ODD_HEADERS))
async def test_ranges(service: Service, client: RawClient, name: bytes, value: bytes) -> None:
    image = await service.create_active(b"0123")
    target = f"/v2/images/{image['id']}/file".encode()
    answer = await client.ask_well("owner", "GET", target, [(name, value)])
    assert answer.status in (200, 206, 400, 416)
    if answer.status == 200:
        assert answer.body == b"0123"


@generated
@given(st.sampled_from(ODD_HEADERS))
async def test_announced_sizes(service: Service, client: RawClient, size: bytes) -> None:
    image = await service.create()
    target = f"/v2/images/{image['id']}/file".encode()
    sent = [*as_bytes(OCTETS), (b"x-openstack-image-size", size)]
    answer = await client.ask_well("owner", "PUT", target, sent, b"data")
    assert answer.status in (204, 400, 413)
    shown = await service.show(image["id"])
    assert (shown["status"], shown["size"]) == (("active", 4) if answer.status == 204 else ("queued", None))
