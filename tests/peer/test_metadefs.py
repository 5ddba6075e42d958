"""Metadata definitions at the reference service and at Blick: the same requests, and answers that mean the same.

Where the reference has a fault that Blick does not share, both answers are written down (`differ`).
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blick.ops.metadefs.files import SHIPPED
from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.metadefs import NAMESPACES, definition, whole
from tests.support.pair import Pair, Side
from tests.support.parts import VENV_BIN
from tests.support.upstream import UpstreamGlance

pytestmark = pytest.mark.needs("keystone", "upstream")

ACCOUNTS = ("admin", "demo", "demo-reader", "alt", "nova")
EVERYBODY = (*ACCOUNTS, "nobody")
JSON = {"Content-Type": "application/json"}
ASTRAL = "\U0001f600"
LONG = "n" * 81
BAD_BODIES = (b"", b"{", b"{}", b"null", b'"x"', b"\xff")


@pytest.fixture(scope="module")
def servers(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("metadefs")
    upstream = UpstreamGlance(folder / "upstream", keystone=keystone)
    identity = {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.authtoken_options()}
    blick = configured_server(folder / "blick", identity)
    tokens = {name: keystone.token(name) for name in ACCOUNTS} | {"nobody": ""}
    projects = {"project": keystone.project_id("demo"), "admins": keystone.project_id("admin")}
    try:
        with upstream:
            blick.start()
            upstream.manage("db_load_metadefs", str(SHIPPED))
            manage(folder / "blick/glance-api.conf", "db_load_metadefs", str(SHIPPED))
            yield Pair(Side(upstream.url, tokens, dict(projects)), Side(blick.url, tokens, dict(projects)))
    finally:
        blick.kill_all()


def manage(config_file: Path, *arguments: str) -> None:
    """Our glance-manage, as a deployment's scripts call it."""
    command = [str(VENV_BIN / "glance-manage"), "--config-file", str(config_file), *arguments]
    subprocess.run(command, check=True, timeout=300, capture_output=True)


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """The two, with a private namespace `ns` of the project demo that has one of everything."""
    with namespace(servers, "ns", owner="{project}"):
        yield servers
    servers.verify()


@contextmanager
def namespace(pair: Pair, name: str, **more: Any) -> Iterator[str]:
    """A namespace on both sides for a while; its path."""
    pair.same("POST", NAMESPACES, document(whole(name, **more)), JSON, who="admin")
    yield f"{NAMESPACES}/{name}"
    pair.same("PUT", f"{NAMESPACES}/{name}", document({"namespace": name}), JSON, who="admin")  # not protected
    pair.same("DELETE", f"{NAMESPACES}/{name}", who="admin")


def document(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


NS = f"{NAMESPACES}/ns"


def test_schemas(servers: Pair) -> None:
    for name in ("namespace", "object", "property", "resource_type", "tag"):
        plural = name.replace("property", "propertie") + "s"
        for path in (f"/v2/schemas/metadefs/{name}", f"/v2/schemas/metadefs/{plural}"):
            for side in (servers.theirs, servers.ours):
                assert side.ask("demo", "GET", path, None, {}).status == 200
            servers.same("POST", path, b"{}", JSON)
            assert_same_shape(servers, path)
    servers.same("GET", "/v2/schemas/metadefs/nonsense")
    servers.verify()


def assert_same_shape(pair: Pair, path: str) -> None:
    """The documents are the same but for descriptions, which are each service's own."""
    theirs, ours = (
        undescribed(json.loads(side.ask("demo", "GET", path, None, {}).body)) for side in (pair.theirs, pair.ours)
    )
    assert ours == theirs, path


def undescribed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: undescribed(each)
            for key, each in value.items()
            if not (key == "description" and isinstance(each, str)) and not (key == "required" and each == [])
        }
    return [undescribed(each) for each in value] if isinstance(value, list) else value


def test_shipped_catalog_reads_the_same_wherever_it_was_loaded(servers: Pair) -> None:
    for who in ("admin", "demo", "alt"):
        servers.same("GET", f"{NAMESPACES}?sort_key=namespace&sort_dir=asc&limit=100", who=who)
    for file in sorted(SHIPPED.glob("*.json")):
        name = json.loads(file.read_text())["namespace"]
        servers.same("GET", f"{NAMESPACES}/{name}")
        servers.same("GET", f"{NAMESPACES}/{name}?resource_type=OS::Nova::Flavor")
        for what in ("objects", "properties", "tags", "resource_types"):
            servers.same("GET", f"{NAMESPACES}/{name}/{what}")
    servers.verify()


GOOD_NAMESPACES: list[dict[str, Any]] = [
    {},
    {"visibility": "public", "protected": True, "owner": "somebody", "display_name": "é", "description": ""},
    {"display_name": "", "description": "d" * 500, "owner": "o" * 255},
    {"properties": {}, "objects": [], "tags": [], "resource_type_associations": []},
    {"properties": {"p": definition(default=5)}},
    {"properties": {"p": definition(default=True), "q": definition(default=["x"]), "r": definition(default=None)}},
    {"properties": {"p": definition(name="other")}},
    {"properties": {"p": definition(type="number", minimum=1.5, maximum=2)}},
    {"properties": {"p": definition(pattern="(", minLength=0, maxLength=3, readonly=True, operators=["<in>"])}},
    {"properties": {"p": definition(type="array", items={"type": "string", "enum": ["a"]}, minItems=1, maxItems=2,
                                    uniqueItems=True, additionalItems=False)}},
    {"objects": [{"name": "o", "required": ["nowhere"], "description": "d"}, {"name": "o2", "properties": {}}]},
    {"tags": [{"name": "one"}, {"name": "two"}]},
    {"resource_type_associations": [{"name": "A"}, {"name": "B", "prefix": "p:", "properties_target": "t"}]},
]  # fmt: skip
BAD_NAMESPACES: list[dict[str, Any]] = [
    {"namespace": LONG},
    {"namespace": 7},
    {"namespace": ASTRAL},
    {"display_name": LONG},
    {"display_name": None},
    {"description": "d" * 501},
    {"visibility": "shared"},
    {"protected": "true"},
    {"owner": "o" * 256},
    {"other": 1},
    *[{name: "x"} for name in ("self", "schema", "created_at", "updated_at")],
    {"properties": {"p": {"type": "string"}}},
    {"properties": {"p": {"title": "t"}}},
    {"properties": {"p": definition(type="null")}},
    {"properties": {"p": definition(type=None)}},
    {"properties": {"p": definition(minimum="1")}},
    {"properties": {"p": definition(minLength=-1)}},
    {"properties": {"p": definition(enum="x")}},
    {"properties": {"p": definition(operators=[1])}},
    {"properties": []},
    {"objects": {}},
    {"objects": [1]},
    {"objects": [{"name": 1}]},
    {"objects": [{"name": "o", "required": ["x", "x"]}]},
    {"tags": [1]},
    {"tags": [{"name": 1}]},
    {"tags": [{"name": "t"}, {"name": "t"}]},
    {"objects": [{"name": "o"}, {"name": "o"}]},
    {"resource_type_associations": [{"name": "A"}, {"name": "A"}]},
]
FAULTS: list[dict[str, Any]] = [
    {"objects": [{"description": "nameless"}]},
    {"tags": [{}]},
    {"tags": [{"name": "t", "more": 1}]},
    {"properties": {"p": definition(unknown=1)}},
    {"properties": {"p": definition(enum=[1])}},
    {"properties": {"p": definition(items={})}},
]


def test_create_namespaces(pair: Pair) -> None:
    for number, members in enumerate(GOOD_NAMESPACES):
        name = f"good{number}"
        pair.same("POST", NAMESPACES, document({"namespace": name, **members}), JSON, who="admin")
        pair.same("GET", f"{NAMESPACES}/{name}", who="admin")
        pair.same("PUT", f"{NAMESPACES}/{name}", document({"namespace": name}), JSON, who="admin")
        pair.same("DELETE", f"{NAMESPACES}/{name}", who="admin")
    for members in BAD_NAMESPACES:
        pair.same("POST", NAMESPACES, document({"namespace": "bad", **members}), JSON, who="admin")
        pair.same("GET", f"{NAMESPACES}/bad", who="admin")
    for members in FAULTS:
        body = document({"namespace": "bad", **members})
        pair.differ("POST", NAMESPACES, body, JSON, who="admin", theirs=500, ours=400)
        pair.same("GET", f"{NAMESPACES}/bad", who="admin")
    for body in BAD_BODIES:
        pair.same("POST", NAMESPACES, body, JSON, who="admin")
    pair.differ("POST", NAMESPACES, b"[]", JSON, who="admin", theirs=500, ours=400)
    pair.same("POST", NAMESPACES, document({"namespace": "plain"}), {"Content-Type": "text/plain"}, who="admin")
    pair.same("POST", NAMESPACES, document({"namespace": "plain"}), JSON, who="admin")
    pair.same("DELETE", f"{NAMESPACES}/plain", who="admin")
    for who in EVERYBODY:
        pair.same("POST", NAMESPACES, document({"namespace": "mine"}), JSON, who=who)
    pair.same("DELETE", f"{NAMESPACES}/mine", who="admin")


def test_replace_namespaces(pair: Pair) -> None:
    for members in (*GOOD_NAMESPACES, *BAD_NAMESPACES[:14]):
        pair.same("PUT", NS, document({"namespace": "ns", **members}), JSON, who="admin")
        pair.same("GET", NS, who="admin")
    for body in BAD_BODIES:
        pair.same("PUT", NS, body, JSON, who="admin")
    pair.differ("PUT", NS, b"[]", JSON, who="admin", theirs=500, ours=400)
    with namespace(pair, "taken"):
        pair.same("PUT", NS, document({"namespace": "taken"}), JSON, who="admin")
        pair.same("PUT", f"{NAMESPACES}/taken", document({"namespace": "free", "visibility": "public"}), JSON,
                  who="admin")  # fmt: skip
        pair.same("GET", f"{NAMESPACES}/free")
        pair.same("GET", f"{NAMESPACES}/taken", who="admin")
        pair.same("PUT", f"{NAMESPACES}/free", document({"namespace": "taken"}), JSON, who="admin")
    pair.same("PUT", f"{NAMESPACES}/nowhere", document({"namespace": "nowhere"}), JSON, who="admin")


def test_who_sees_and_does_what(pair: Pair) -> None:
    requests: list[tuple[str, str, Any]] = [
        ("GET", "", None), ("GET", "/objects", None), ("GET", "/objects/o", None), ("GET", "/properties", None),
        ("GET", "/properties/p", None), ("GET", "/tags", None), ("GET", "/tags/t", None),
        ("GET", "/resource_types", None), ("GET", "/objects/none", None), ("GET", "/nonsense", None),
        ("PUT", "", {"namespace": "ns"}), ("POST", "/objects", {"name": "o9"}), ("PUT", "/objects/o", {"name": "o"}),
        ("POST", "/properties", {"name": "p9", **definition()}),
        ("PUT", "/properties/p", {"name": "p", **definition()}),
        ("POST", "/tags", {"tags": [{"name": "t9"}]}), ("POST", "/tags/t8", None), ("PUT", "/tags/t", {"name": "t"}),
        ("POST", "/resource_types", {"name": "rt9"}), ("DELETE", "/resource_types/rt", None),
        ("DELETE", "/objects/o", None), ("DELETE", "/properties/p", None), ("DELETE", "/tags/t", None),
        ("DELETE", "/objects", None), ("DELETE", "/properties", None), ("DELETE", "/tags", None), ("DELETE", "", None),
    ]  # fmt: skip
    visible = {"visibility": "public", "owner": "{admins}"}
    with namespace(pair, "shown", **visible) as shown, namespace(pair, "hidden") as hidden:
        for who in ("demo", "demo-reader", "alt", "nova", "nobody"):
            for path in (NS, shown, hidden, f"{NAMESPACES}/nowhere"):
                for method, below, body in requests:
                    sent = None if body is None else document(body)
                    pair.same(method, path + below, sent, JSON if sent else None, who=who)
            pair.same("GET", NAMESPACES + "?sort_key=namespace&limit=100", who=who)
            pair.same("GET", "/v2/metadefs/resource_types", who=who)


def test_protected_namespaces(pair: Pair) -> None:
    with namespace(pair, "kept", protected=True) as kept:
        for below in ("", "/objects", "/properties", "/tags", "/objects/o", "/properties/p", "/tags/t",
                      "/resource_types/rt", "/objects/none", "/properties/none", "/tags/none",
                      "/resource_types/none"):  # fmt: skip
            pair.same("DELETE", kept + below, who="admin")
        pair.same("POST", f"{kept}/objects", document({"name": "o2"}), JSON, who="admin")
        pair.same("POST", f"{kept}/tags", document({"tags": [{"name": "new"}]}), JSON, who="admin")
        pair.same("GET", kept, who="admin")
        pair.same("PUT", kept, document({"namespace": "kept", "protected": False}), JSON, who="admin")
        for below in ("/objects/o", "/objects", "/properties", "/tags", "/tags", "/resource_types/rt"):
            pair.same("DELETE", kept + below, who="admin")
            pair.same("GET", kept, who="admin")


def test_bodies_where_none_is_expected(pair: Pair) -> None:
    for below in ("", "/objects/o", "/properties", "/properties/p", "/tags/t", "/resource_types", "/objects", "/tags"):
        pair.same("GET", NS + below, b"{}", JSON, who="admin")
    pair.same("GET", NAMESPACES + "?resource_types=rt&limit=1", b"{}", JSON, who="admin")
    pair.same("GET", "/v2/metadefs/resource_types", b"{}", JSON, who="admin")
    pair.same("POST", f"{NS}/tags/new", b"{}", JSON, who="admin")
    for below in ("/tags/t", "/objects/o", "/resource_types/rt", ""):
        pair.same("DELETE", NS + below, b"{}", JSON, who="admin")
    for below in ("/properties/p", "/tags", "/objects", "/properties"):
        pair.differ("DELETE", NS + below, b"{}", JSON, who="admin", theirs=500, ours=400)


def test_other_methods(pair: Pair) -> None:
    paths = ["", "/objects", "/objects/o", "/properties", "/properties/p", "/tags", "/tags/t", "/resource_types",
             "/resource_types/rt"]  # fmt: skip
    for path in (NAMESPACES, "/v2/metadefs/resource_types", *(NS + below for below in paths)):
        for method in ("PATCH", "PUT", "POST", "DELETE"):
            allowed = {"objects": "POST", "properties": "POST", "tags": "POST", "resource_types": "POST"}
            if method == "PATCH" or (method == "PUT" and path.rsplit("/", 1)[-1] in {*allowed, "namespaces"}):
                pair.same(method, path, b"{}", JSON, who="admin")
    for method in ("PUT", "POST", "DELETE"):
        pair.same(method, "/v2/metadefs/resource_types", who="admin")
    for method in ("GET", "PUT", "POST"):
        pair.same(method, f"{NS}/resource_types/rt", who="admin")


def test_objects(pair: Pair) -> None:
    objects = f"{NS}/objects"
    good: list[dict[str, Any]] = [
        {}, {"description": "d" * 5000}, {"required": []}, {"required": ["a", "b"]}, {"required": ["a,b"]},
        {"properties": {}}, {"properties": {"q": definition(default=1)}}, {"name": "n" * 80},
    ]  # fmt: skip
    bad: list[dict[str, Any]] = [
        {"name": LONG}, {"name": 1}, {"name": ASTRAL}, {"description": ASTRAL}, {"description": None},
        {"required": "a"}, {"required": ["a", "a"]}, {"required": [1]}, {"properties": []},
        {"properties": {"q": {"type": "string"}}}, {"properties": {"q": definition(type="x")}}, {"other": 1},
        *[{name: "x"} for name in ("self", "schema", "created_at", "updated_at")],
    ]  # fmt: skip
    for members in good:
        body = {"name": "new", **members}
        pair.same("POST", objects, document(body), JSON, who="admin")
        pair.same("POST", objects, document(body), JSON, who="admin")
        pair.same("GET", f"{objects}/{body['name']}", who="admin")
        pair.same("PUT", f"{objects}/{body['name']}", document({"name": body["name"]}), JSON, who="admin")
        pair.same("PUT", f"{objects}/{body['name']}", document(body), JSON, who="admin")
        pair.same("GET", objects, who="admin")
        pair.same("DELETE", f"{objects}/{body['name']}", who="admin")
        pair.same("DELETE", f"{objects}/{body['name']}", who="admin")
    for members in bad:
        body = {"name": "new", **members}
        pair.same("POST", objects, document(body), JSON, who="admin")
        pair.same("PUT", f"{objects}/o", document(body), JSON, who="admin")
    for text in BAD_BODIES:
        pair.same("POST", objects, text, JSON, who="admin")
        pair.same("PUT", f"{objects}/o", text, JSON, who="admin")
    pair.differ("POST", objects, b"[]", JSON, who="admin", theirs=500, ours=400)
    pair.same("POST", objects, document({"name": "second"}), JSON, who="admin")
    pair.differ("PUT", f"{objects}/second", document({"name": "o"}), JSON, who="admin", theirs=500, ours=409)
    pair.same("PUT", f"{objects}/none", document({"name": "none"}), JSON, who="admin")
    for query in ("limit=1", "limit=x", "limit=0", "limit=-1", "marker=o", "marker=none", "sort_dir=asc", "sort_dir=up",
                  "sort_key=name", "visibility=public", "visibility=shared", "visibility=x"):  # fmt: skip
        pair.same("GET", f"{objects}?{query}", who="admin")


def test_properties(pair: Pair) -> None:
    properties = f"{NS}/properties"
    good: list[dict[str, Any]] = [
        {}, {"default": 5}, {"default": True}, {"default": [1]}, {"default": None}, {"enum": ["a"]}, {"minimum": 1.5},
        {"description": "d", "operators": ["<in>"], "readonly": False, "pattern": "("}, {"name": "n" * 80},
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 0, "maxItems": 3},
    ]  # fmt: skip
    bad: list[dict[str, Any]] = [
        {"name": LONG}, {"name": ASTRAL}, {"name": 1}, {"type": "null"}, {"type": None}, {"title": 1},
        {"minimum": "x"}, {"minLength": 1.5}, {"maxItems": -1}, {"enum": {}}, {"readonly": "yes"}, {"unknown": 1},
        {"confidential": True}, {"created_at": "x"}, {"updated_at": "x"}, {"self": "x"}, {"required": []},
    ]  # fmt: skip
    for members in good:
        body = {"name": "new", **definition(**members)}
        pair.same("POST", properties, document(body), JSON, who="admin")
        pair.same("POST", properties, document(body), JSON, who="admin")
        pair.same("GET", f"{properties}/{body['name']}", who="admin")
        pair.same("GET", properties, who="admin")
        pair.same("PUT", f"{properties}/{body['name']}", document({**body, "title": "Other"}), JSON, who="admin")
        pair.same("PUT", f"{properties}/{body['name']}", document({**definition(), "name": "moved"}), JSON, who="admin")
        pair.same("GET", f"{properties}/moved", who="admin")
        pair.same("GET", NS, who="admin")
        pair.same("DELETE", f"{properties}/moved", who="admin")
        pair.same("DELETE", f"{properties}/moved", who="admin")
    for members in bad:
        body = {"name": "new", **definition(**members)}
        pair.same("POST", properties, document(body), JSON, who="admin")
        pair.same("PUT", f"{properties}/p", document(body), JSON, who="admin")
    for member, ours in (("required", 201), ("enum", 400), ("items", 400)):
        fault = {"required": ["x"], "enum": [1], "items": {}}[member]
        body = {"name": member, **definition(**{member: fault})}
        pair.differ("POST", properties, document(body), JSON, who="admin", theirs=500, ours=ours)
    for text in BAD_BODIES:
        pair.same("POST", properties, text, JSON, who="admin")
        pair.same("PUT", f"{properties}/p", text, JSON, who="admin")
    pair.differ("PUT", f"{properties}/p", b"[]", JSON, who="admin", theirs=500, ours=400)
    second = document({"name": "second", **definition()})
    pair.same("POST", properties, second, JSON, who="admin")
    pair.differ("PUT", f"{properties}/p", second, JSON, who="admin", theirs=500, ours=409)
    pair.same("PUT", f"{properties}/none", second, JSON, who="admin")


def test_names_on_a_type_of_resource(pair: Pair) -> None:
    for path in ("x_p?resource_type=rt", "p?resource_type=rt", "x_p?resource_type=none", "x_none?resource_type=rt",
                 "p?resource_type=", "x_p"):  # fmt: skip
        pair.same("GET", f"{NS}/properties/{path}")
    pair.same("POST", f"{NS}/resource_types", document({"name": "bare"}), JSON, who="admin")
    pair.same("GET", f"{NS}/properties/p?resource_type=bare")
    for query in ("resource_type=rt", "resource_type=bare", "resource_type=none", "resource_type="):
        pair.same("GET", f"{NS}?{query}")
    pair.differ("GET", f"{NS}?other=1", theirs=500, ours=200)
    pair.differ("GET", f"{NS}/properties/p?other=1", theirs=500, ours=200)
    pair.same("GET", f"{NS}?visibility=x&resource_type=rt")


def test_tags(pair: Pair) -> None:
    tags = f"{NS}/tags"
    for name in ("new", "a%20b", "n" * 80, LONG, "a%2Fb"):
        for method in ("POST", "POST", "GET"):
            pair.same(method, f"{tags}/{name}", who="admin")
        pair.same("PUT", f"{tags}/{name}", document({"name": "renamed"}), JSON, who="admin")
        pair.same("DELETE", f"{tags}/renamed", who="admin")
    pair.differ("POST", f"{tags}/%C3%A9", who="admin", theirs=201, ours=201)  # theirs takes its bytes for Latin-1
    pair.differ("POST", f"{tags}/%F0%9F%98%80", who="admin", theirs=201, ours=400)
    pair.same("POST", f"{tags}/u", who="admin")
    pair.same("PUT", f"{tags}/u", document({"name": "t"}), JSON, who="admin")
    for body in (*BAD_BODIES, document({"name": LONG}), document({"name": "x", "other": 1}), document({"name": 1}),
                 document({"name": "x", "created_at": "y"})):  # fmt: skip
        pair.same("PUT", f"{tags}/t", body, JSON, who="admin")
    for names, append in (
        (["a", "b"], None), (["c"], "true"), (["c"], "1"), (["d", "d"], None), (["e"], "no"), ([], None), ([], "True"),
        (["f"], "yes"), (["g"], "on"), (["h"], "nonsense"),
    ):  # fmt: skip
        body = document({"tags": [{"name": name} for name in names]})
        headers = JSON if append is None else {**JSON, "X-Openstack-Append": append}
        pair.same("POST", tags, body, headers, who="admin")
        pair.same("GET", f"{tags}?sort_key=name", who="admin")
    for body in (b"", b"{", document({"tags": [{"name": "x", "more": 1}]}), document({"tags": ["x"]}),
                 document({"other": []})):  # fmt: skip
        pair.same("POST", tags, body, JSON, who="admin")
    pair.differ("POST", tags, b"{}", JSON, who="admin", theirs=500, ours=400)
    pair.differ("POST", tags, document({"tags": [{"name": LONG}]}), JSON, who="admin", theirs=201, ours=400)
    pair.same("POST", tags, document({"tags": [{"name": name} for name in "abcd"]}), JSON, who="admin")
    for query in ("", "limit=0", "limit=2", "limit=2&marker=c", "marker=none", "limit=x", "limit=-1", "sort_dir=asc",
                  "sort_key=name&sort_dir=asc", "sort_key=name", "sort_dir=up", "visibility=x",
                  "limit=2000"):  # fmt: skip
        pair.same("GET", f"{tags}?{query}", who="admin")
    pair.differ("GET", f"{tags}?sort_key=nonsense", who="admin", theirs=500, ours=400)


def test_resource_types(pair: Pair) -> None:
    types = f"{NS}/resource_types"
    for body in (
        {"name": "A"}, {"name": "A"}, {"name": "B", "prefix": "b:", "properties_target": "t"}, {"name": "é"},
        {"name": LONG}, {"name": "x", "prefix": LONG}, {"name": 1}, {"name": "x", "other": 1}, {"prefix": "x"},
        {"name": "x", "created_at": "y"}, {"name": "x", "prefix": None},
    ):  # fmt: skip
        pair.same("POST", types, document(body), JSON, who="admin")
    for text in BAD_BODIES:
        pair.same("POST", types, text, JSON, who="admin")
    pair.differ("POST", types, b"[]", JSON, who="admin", theirs=500, ours=400)
    pair.same("POST", f"{NAMESPACES}/nowhere/resource_types", document({"name": "A"}), JSON, who="admin")
    pair.same("GET", types, who="admin")
    for name in ("A", "A", "none", "rt"):
        pair.same("DELETE", f"{types}/{name}", who="admin")
        pair.same("GET", types, who="admin")


def test_lists_of_namespaces(pair: Pair) -> None:
    with (
        namespace(pair, "l1", visibility="public"),
        namespace(pair, "l2", resource_type_associations=[{"name": "other"}]),
        namespace(pair, "l3", owner="{project}"),
    ):
        for query in (
            "limit=0", "limit=2", "limit=1001", "limit=-1", "marker=l2&limit=2", "marker=none", "limit=2&sort_dir=asc",
            "sort_key=owner&visibility=private", "sort_key=display_name&sort_dir=asc&limit=100", "sort_dir=up",
            "visibility=public", "visibility=private", "visibility=x", "visibility=shared", "resource_types=rt",
            "resource_types=other,rt",
            "resource_types=none", "resource_types=rt&visibility=private&limit=1", "unknown=1&limit=2",
            "limit=2&marker=l2&visibility=private", "resource_types=a%20b%26c&limit=2",
        ):  # fmt: skip
            key = "" if "sort_key" in query else "&sort_key=namespace"
            for who in ("admin", "demo"):
                if who == "admin" or "marker=l2" not in query:
                    pair.same("GET", f"{NAMESPACES}?{query}{key}", who=who)
        pair.differ("GET", f"{NAMESPACES}?limit=x", theirs=500, ours=400)
        pair.differ("GET", f"{NAMESPACES}?sort_key=nonsense", theirs=500, ours=400)
        pair.differ("GET", f"{NAMESPACES}?marker=l2", who="alt", theirs=403, ours=404)


def test_names_that_no_address_can_have(servers: Pair) -> None:
    """The last one: nothing removes them from the reference any more."""
    for name in ("", "a/b"):
        servers.differ("POST", NAMESPACES, document({"namespace": name}), JSON, who="admin", theirs=201, ours=400)
    servers.verify()
