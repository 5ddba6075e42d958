"""Whatever is said about metadata definitions: never a 5xx, and what was accepted reads back.

The requests are generated, the same ones in every run.
"""

import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.test_fuzz import generated, queries, texts, values, written
from tests.support.databases import on_every_engine
from tests.support.metadefs import NAMESPACES, whole
from tests.support.raw_requests import RawClient
from tests.support.service import Service

pytestmark = on_every_engine


@pytest.fixture
def client(service: Service, caplog: pytest.LogCaptureFixture) -> RawClient:
    caplog.set_level(logging.INFO, "blick")
    return RawClient(service.app, caplog.records)


def sometimes(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what could be taken, now and then anything."""
    return st.one_of(likely, likely, likely, values)


numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 5, 2**70, 10**400, 1e308]))
definitions = st.fixed_dictionaries(
    {"title": sometimes(texts), "type": sometimes(st.sampled_from(["string", "integer", "array", "number"]))},
    optional={
        "name": texts,
        "description": sometimes(texts),
        "default": values,
        "enum": sometimes(st.lists(texts, max_size=3)),
        "items": sometimes(st.fixed_dictionaries({"type": st.just("string")}, optional={"enum": st.lists(texts)})),
        "minimum": sometimes(numbers),
        "maxLength": sometimes(numbers),
        "required": sometimes(st.lists(texts, min_size=1, max_size=3, unique=True)),
        "readonly": sometimes(st.booleans()),
        "confidential": values,
    },
)
maps = st.dictionaries(texts, sometimes(definitions), max_size=3)
objects = st.fixed_dictionaries(
    {"name": sometimes(texts)},
    optional={
        "description": texts,
        "required": sometimes(st.lists(texts, max_size=3, unique=True)),
        "properties": sometimes(maps),
    },
)
named = st.fixed_dictionaries({"name": sometimes(texts)})
associations = st.fixed_dictionaries({"name": texts}, optional={"prefix": texts, "properties_target": texts})
namespaces = st.fixed_dictionaries(
    {"namespace": texts},
    optional={
        "display_name": texts,
        "description": sometimes(texts),
        "visibility": sometimes(st.sampled_from(["public", "private"])),
        "protected": sometimes(st.booleans()),
        "owner": texts,
        "properties": sometimes(maps),
        "objects": sometimes(st.lists(objects, max_size=2)),
        "tags": sometimes(st.lists(named, max_size=3)),
        "resource_type_associations": sometimes(st.lists(associations, max_size=2)),
        "created_at": values,
        "unknown": values,
    },
)


def path_of(*names: str) -> bytes:
    """With what no path can say as it stands escaped."""
    return "/".join([NAMESPACES, *(quote(name.encode("utf-8", "surrogatepass"), safe="") for name in names)]).encode()


@generated
@given(namespaces)
async def test_namespaces(client: RawClient, body: dict[str, Any]) -> None:
    answer = await client.ask_well("admin", "POST", NAMESPACES.encode(), body=json.dumps(body).encode())
    assert answer.status in (201, 400, 403, 409)
    if answer.status != 201:
        return
    made = answer.json()
    found = await client.ask_well("admin", "GET", f"{NAMESPACES}?limit=1&sort_key=id".encode())
    listed = found.json()["namespaces"][0]
    for name in ("namespace", "display_name", "description", "visibility", "protected", "owner", "self"):
        assert listed.get(name) == made.get(name)
    name = made["namespace"]
    if name in (".", "..") or name.strip("/") != name:
        return
    shown = await client.ask_well("admin", "GET", path_of(name))
    assert shown.status == 200
    assert shown.json().get("properties", {}) == made.get("properties", {})
    assert len(shown.json().get("objects", ())) == len(body.get("objects", ()))


@generated
@given(
    st.sampled_from(["objects", "properties", "tags", "resource_types"]), st.one_of(objects, definitions, named, values)
)
async def test_what_comes_into_one(service: Service, client: RawClient, kind: str, body: Any) -> None:
    await service.call("admin", "POST", NAMESPACES, json=whole())
    sent = {"tags": [body]} if kind == "tags" else body
    answer = await client.ask_well("admin", "POST", path_of("ns", kind), body=json.dumps(sent).encode())
    assert answer.status in (201, 400, 403, 409)
    assert (await client.ask_well("admin", "GET", path_of("ns"))).status == 200


@generated
@given(texts, texts, st.sampled_from(["objects", "properties", "tags", "resource_types"]))
async def test_names_in_paths(client: RawClient, name: str, child: str, kind: str) -> None:
    for target in (path_of(name), path_of(name, kind), path_of(name, kind, child)):
        for method in ("GET", "DELETE"):
            await client.ask_well("admin", method, target)


@generated
@given(written)
async def test_any_bytes_as_a_body(service: Service, client: RawClient, body: bytes) -> None:
    await service.call("admin", "POST", NAMESPACES, json=whole())
    for method, target in (
        ("POST", NAMESPACES.encode()),
        ("PUT", path_of("ns")),
        ("POST", path_of("ns", "resource_types")),
        ("POST", path_of("ns", "objects")),
        ("PUT", path_of("ns", "objects", "o")),
        ("POST", path_of("ns", "properties")),
        ("PUT", path_of("ns", "properties", "p")),
        ("POST", path_of("ns", "tags")),
        ("PUT", path_of("ns", "tags", "t")),
    ):
        await client.ask_well("admin", method, target, body=body)


PARAMETERS = st.sampled_from(
    ["limit", "marker", "sort_key", "sort_dir", "visibility", "resource_types", "resource_type"]
)


@generated
@given(
    st.one_of(queries, st.tuples(PARAMETERS, texts).map(lambda pair: f"{pair[0]}={quote(pair[1], errors='replace')}"))
)
async def test_queries(service: Service, client: RawClient, query: str) -> None:
    await service.call("admin", "POST", NAMESPACES, json=whole())
    for target in (NAMESPACES.encode(), path_of("ns"), path_of("ns", "objects"), path_of("ns", "tags")):
        await client.ask_well("owner", "GET", target + b"?" + query.encode())
        await client.ask_well("admin", "GET", target + b"?" + query.encode())
