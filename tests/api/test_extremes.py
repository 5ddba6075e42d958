"""Much too much of everything: each is refused in words, or done; nothing fails."""

import json
import logging

import pytest

from tests.support.databases import on_every_engine
from tests.support.raw_requests import RawClient
from tests.support.service import PATCH_2_0, PATCH_2_1, Service

pytestmark = on_every_engine

MEBIBYTE = 1 << 20


@pytest.fixture
def client(service: Service, caplog: pytest.LogCaptureFixture) -> RawClient:
    caplog.set_level(logging.INFO, "blick")
    return RawClient(service.app, caplog.records)


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]", inside: bytes = b"1") -> bytes:
    return opening * levels + inside + closing * levels


BODIES: dict[str, tuple[bytes, frozenset[int]]] = {
    "10 MiB of text": (b'{"name": "' + b"x" * 10 * MEBIBYTE + b'"}', frozenset({413})),
    "10 MiB of blanks": (b" " * 10 * MEBIBYTE + b"{}", frozenset({413})),
    "10 MiB of numbers": (b"[" + b"1," * 5 * MEBIBYTE + b"1]", frozenset({413})),
    "100,000 arrays": (nested(100_000), frozenset({400})),
    "100,000 objects": (nested(100_000, b'{"a":', b"}"), frozenset({400})),
    "100,000 arrays without an end": (b"[" * 100_000, frozenset({400})),
    "100,000 ends": (b"]" * 100_000, frozenset({400})),
    "65 levels": (b'{"a": ' + nested(64) + b"}", frozenset({400})),
    "64 levels": (b'{"a": ' + nested(63) + b"}", frozenset({400})),
    "brackets in a text": (b'{"a": "' + b"[{" * 500 + b'"}', frozenset({201, 400})),
    "a quote before brackets": (b'{"a": "\\"' + b"[" * 100 + b'"}', frozenset({201, 400})),
    "10,000 tags": (json.dumps({"tags": [str(each) for each in range(10_000)]}).encode(), frozenset({400, 413})),
    "one tag 10,000 times": (json.dumps({"tags": ["t"] * 10_000}).encode(), frozenset({400, 413})),
    "10,000 properties": (json.dumps({f"p{each}": "" for each in range(10_000)}).encode(), frozenset({400, 413})),
    "one name 10,000 times": (b"{" + b'"a": "x",' * 10_000 + b'"a": "y"}', frozenset({201, 400})),
    "a name of 100,000 characters": (json.dumps({"x" * 100_000: ""}).encode(), frozenset({400})),
    "an infinite number": (b'{"min_ram": 1e999}', frozenset({400})),
    "minus infinity": (b'{"min_ram": -1e999}', frozenset({400})),
    "2**70": (b'{"min_ram": %d}' % 2**70, frozenset({400})),
    "a number of 5,000 digits": (b'{"min_ram": ' + b"9" * 5_000 + b"}", frozenset({400})),
    "a fraction of 5,000 digits": (b'{"min_ram": 0.' + b"9" * 5_000 + b"}", frozenset({201, 400})),
    "a tiny number": (b'{"min_ram": 1e-999}', frozenset({201, 400})),
    "minus zero": (b'{"min_ram": -0, "min_disk": -0.0}', frozenset({201, 400})),
    "not a number": (b'{"min_ram": NaN}', frozenset({400})),
    "Infinity": (b'{"min_ram": Infinity}', frozenset({400})),
    "a lone surrogate": (b'{"name": "\\ud800"}', frozenset({400})),
    "a lone surrogate as a name": (b'{"\\udfff": "x"}', frozenset({400})),
    "surrogates the wrong way round": (b'{"name": "\\udc00\\ud800"}', frozenset({400})),
    "a surrogate's bytes": (b'{"name": "\xed\xa0\x80"}', frozenset({400})),
    "an overlong zero": (b'{"name": "\xc0\x80"}', frozenset({400})),
    "a character past Unicode": (b'{"name": "\xf4\x90\x80\x80"}', frozenset({400})),
    "NUL in a text": (b'{"name": "a\\u0000b"}', frozenset({400})),
    "NUL itself": (b'{"name": "a\x00b"}', frozenset({400})),
    "a byte order mark": (b"\xef\xbb\xbf{}", frozenset({201, 400})),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), frozenset({400})),
    "something after the end": (b"{} {}", frozenset({400})),
    "a comment": (b"{} // end", frozenset({400})),
    "a trailing comma": (b'{"name": "x",}', frozenset({400})),
}


@pytest.mark.parametrize("what", BODIES)
async def test_bodies(service: Service, client: RawClient, what: str) -> None:
    body, expected = BODIES[what]
    answer = await client.ask_well("owner", "POST", b"/v2/images", body=body)
    assert answer.status in expected, answer
    if answer.status == 201:
        assert await service.show(answer.json()["id"]) == answer.json()
    else:
        assert (await client.ask_well("owner", "GET", b"/v2/images")).json()["images"] == []
    image = await service.create(visibility="shared")
    path = f"/v2/images/{image['id']}".encode()
    member = await client.ask_well("owner", "POST", path + b"/members", body=body)
    assert member.status == (413 if len(body) > MEBIBYTE else 400)
    for version in (PATCH_2_0, PATCH_2_1):
        kind = [(b"content-type", version["content-type"].encode())]
        assert (await client.ask_well("owner", "PATCH", path, kind, body)).status in (400, 413)
    assert await service.show(image["id"]) == image


async def test_patches_of_10_000_changes(service: Service, client: RawClient) -> None:
    image = await service.create()
    path = f"/v2/images/{image['id']}".encode()
    kind = [(b"content-type", PATCH_2_1["content-type"].encode())]

    async def patched(changes: list[dict[str, object]]) -> int:
        return (await client.ask_well("owner", "PATCH", path, kind, json.dumps(changes).encode())).status

    different = [{"op": "add", "path": f"/p{each}", "value": ""} for each in range(10_000)]
    assert await patched(different) == 413
    assert await service.show(image["id"]) == image
    same = [{"op": "add", "path": "/p", "value": str(each)} for each in range(10_000)]
    assert await patched(same) == 200
    assert (await service.show(image["id"]))["p"] == "9999"
    assert await patched([{"op": "replace", "path": "/tags", "value": [str(each) for each in range(10_000)]}]) == 413


QUERIES: dict[str, bytes] = {
    "10,000 properties": b"&".join(b"p%d=x" % each for each in range(10_000)),
    "10,000 tags": b"&".join(b"tag=t%d" % each for each in range(10_000)),
    "one tag 10,000 times": b"&".join([b"tag=t"] * 10_000),
    "one property 10,000 times": b"&".join([b"p=x"] * 10_000),
    "in: of 10,000": b"id=in:" + b",".join(b"%d" % each for each in range(10_000)),
    "in: of 100,000": b"name=in:" + b",".join(b"%d" % each for each in range(100_000)),
    "10,000 sort keys": b"&".join([b"sort_key=name"] * 10_000),
    "sort by 10,000": b"sort=" + b",".join([b"name:asc"] * 10_000),
    "10,000 empty parts": b"&" * 10_000,
    "1 MiB of a value": b"name=" + b"x" * MEBIBYTE,
    "1 MiB of a name": b"x" * MEBIBYTE + b"=1",
    "1 MiB of a tag": b"tag=" + b"x" * MEBIBYTE,
    "1 MiB of a marker": b"marker=" + b"x" * MEBIBYTE,
    "100,000 quotes": b"name=in:" + b"%22" * 100_000,
    "100,000 escapes": b"name=in:%22" + b"%5C" * 100_000,
}


@pytest.mark.parametrize("what", QUERIES)
async def test_queries(service: Service, client: RawClient, what: str) -> None:
    await service.create(p="x", tags=["t"])
    for who in ("owner", "admin"):
        answer = await client.ask_well(who, "GET", b"/v2/images?" + QUERIES[what])
        assert answer.status in (200, 400, 403), answer


async def test_as_many_filters_as_an_image_can_answer(service: Service, client: RawClient) -> None:
    names = [f"{number}" for number in range(128)]
    image = await service.create(tags=names, **dict.fromkeys(names, "x"))
    query = "&".join(f"tag={name}&{name}=x" for name in names) + "&name=in:" + ",".join(map(str, range(10_000)))
    for sort in ("", "&sort=name:asc"):
        answer = await client.ask_well("owner", "GET", f"/v2/images?{query}{sort}".encode())
        assert answer.json()["images"] == []
        wanted = query.partition("&name=")[0]
        answer = await client.ask_well("owner", "GET", f"/v2/images?{wanted}{sort}".encode())
        [found] = answer.json()["images"]
        assert {**found, "tags": sorted(found["tags"])} == {**image, "tags": sorted(image["tags"])}  # a set
    beyond = query + "".join(f"&more{number}=x" for number in range(44))
    assert (await client.ask_well("owner", "GET", f"/v2/images?{beyond}".encode())).status == 400


PATHS: dict[str, bytes] = {
    "a long id": b"/v2/images/" + b"x" * MEBIBYTE,
    "a long tag": b"/v2/images/1/tags/" + b"x" * MEBIBYTE,
    "a long member": b"/v2/images/1/members/" + b"x" * MEBIBYTE,
    "many slashes": b"/v2" + b"/" * 100_000 + b"images/1",
    "many parts": b"/v2" + b"/a" * 100_000,
    "dots": b"/v2/images/" + b"../" * 1_000,
    "escaped dots": b"/v2/images/" + b"%2e%2e%2f" * 1_000,
    "a 4-byte character": b"/v2/images/%F0%9F%98%80",
    "a 4-byte character as it is": b"/v2/images/\xf0\x9f\x98\x80",
    "a surrogate": b"/v2/images/%ED%A0%80",
    "NUL": b"/v2/images/%00",
    "NUL in a tag": b"/v2/images/1/tags/a%00b",
    "half an escape": b"/v2/images/%",
    "no escape": b"/v2/images/%zz",
    "Latin-1": b"/v2/images/%E4",
    "a line break": b"/v2/images/%0d%0aSet-Cookie:%20a=b",
    "an odd version": b"/v2.%F0%9F%98%80/images",
    "a version with NUL": b"/v%002/images",
}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("what", PATHS)
async def test_paths(client: RawClient, what: str, method: str) -> None:
    answer = await client.ask_well("owner", method, PATHS[what])
    assert answer.status in (300, 400, 404, 405), answer
    assert "\n" not in "".join(answer.headers.values())
