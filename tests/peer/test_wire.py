"""The same requests to the reference service and to Blick, with one Keystone: their answers mean the same.

Where the reference has a fault that Blick does not share, both answers are written down (`differ`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blick.model.schema import SHIPPED_PROPERTIES
from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.pair import Pair, Side
from tests.support.upstream import UpstreamGlance

pytestmark = pytest.mark.needs("keystone", "upstream")

ACCOUNTS = ("admin", "demo", "demo-reader", "alt", "nova", "spare")
JSON = {"Content-Type": "application/json"}
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH_2_1 = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
PATCH_2_0 = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
RAW = {"disk_format": "raw", "container_format": "bare"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
ASTRAL = "\U0001f600"
OPTIONS = {"DEFAULT": {"enabled_import_methods": "[]", "show_image_direct_url": "false"}}


@pytest.fixture(scope="module")
def servers(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("wire")
    upstream = UpstreamGlance(folder / "upstream", keystone=keystone, options=OPTIONS)
    upstream.write_files()
    identity = {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.authtoken_options()}
    blick = configured_server(folder / "blick", {**OPTIONS, **identity})
    for place in (upstream.folder, blick.folder):
        write_schema_file(place)
    tokens = {name: keystone.token(name) for name in ACCOUNTS} | {"nobody": ""}
    try:
        with upstream:
            blick.start()
            projects = {"spare": keystone.project_id("spare")}
            yield Pair(Side(upstream.url, tokens, dict(projects)), Side(blick.url, tokens, dict(projects)))
    finally:
        blick.kill_all()


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """The two, with an image `a` of the project demo that has no data, and nothing to complain about at the end."""
    servers.make("a", {"name": "a", "x": "1", **RAW})
    yield servers
    servers.verify()


def write_schema_file(folder: Path) -> None:
    """The declarations that deployments ship, so that both read the same."""
    folder.joinpath("schema-image.json").write_text(json.dumps(SHIPPED_PROPERTIES, default=dict))


def document(**values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode()


def change(operation: str, path: str, *value: Any) -> dict[str, Any]:
    return {"op": operation, "path": path, **({"value": value[0]} if value else {})}


def patch(pair: Pair, *changes: dict[str, Any], who: str = "demo", name: str = "a") -> None:
    pair.same("PATCH", f"/v2/images/{{{name}}}", json.dumps(changes).encode(), PATCH_2_1, who=who)


GOOD_IMAGES = [
    {},
    {"name": None},
    {"name": "é"},
    {"name": ""},
    {"tags": ["a", "a", "b"]},
    {"disk_format": None},
    {"min_disk": 2**31 - 1},
    {"visibility": "private"},
    {"visibility": "community"},
    {"protected": False, "os_hidden": True},
    {"kernel_id": None},
    {"os_distro": "x", "": "empty name", "a b": "c", "x/y": "z"},
    {"cinder_encryption_key_deletion_policy": "do_not_delete"},
]
BAD_IMAGES = [
    {"name": "n" * 256},
    {"name": 7},
    {"name": f"astral {ASTRAL}"},
    {"x": ASTRAL},
    {ASTRAL: "x"},
    {"id": "zz"},
    {"id": "{a}"},
    {"tags": "a"},
    {"tags": [1]},
    {"tags": ["t" * 256]},
    {"owner": None},
    {"owner": "somebody else"},
    {"visibility": "public"},
    {"visibility": "x"},
    {"visibility": None},
    {"disk_format": "x"},
    {"min_disk": True},
    {"min_disk": -1},
    {"min_disk": 2**31},
    {"min_ram": "1"},
    {"protected": 1},
    {"protected": "true"},
    {"os_hidden": None},
    {"foo": 1},
    {"foo": None},
    {"foo": ["x"]},
    {"p" * 256: "x"},
    {"kernel_id": "x"},
    {"cinder_encryption_key_deletion_policy": "zz"},
    {"architecture": None},
    *[{name: "x"} for name in ("created_at", "updated_at", "status", "checksum", "direct_url", "self", "file")],
    *[{name: "x"} for name in ("schema", "stores", "location", "deleted_at", "os_glance_x", "os_glancex")],
    {"size": 1},
    {"virtual_size": 1},
    {"locations": []},
    {"deleted": True},
]


def test_create(pair: Pair) -> None:
    for image in (*GOOD_IMAGES, *BAD_IMAGES):
        pair.same("POST", "/v2/images", document(**image), JSON)
    for body in (b"", b"{", b"null", b"3", b'"x"', b"\xff", b'{"name":"a","name":"b"}'):
        pair.same("POST", "/v2/images", body, JSON)
    pair.same("POST", "/v2/images", b"{}")
    pair.same("POST", "/v2/images", b"{}", {"Content-Type": "text/plain"})
    for owner in ("", None, "p"):
        pair.same("POST", "/v2/images", document(owner=owner), JSON, who="admin")
    pair.same("POST", "/v2/images", document(visibility="public"), JSON, who="admin")
    pair.differ("POST", "/v2/images", b"[]", JSON, theirs=500, ours=400)  # D7


BASE_PATHS = """
/name /x /new /size /status /id /checksum /os_hash_algo /visibility /protected /os_hidden /min_disk /min_ram /tags
/disk_format /container_format /self /file /schema /direct_url /location /deleted /os_glance_x /virtual_size
/created_at /kernel_id
"""
POINTERS = [
    "", "x", "/", "/x/", "/x/y", "/a~0b", "/a~1b", "/a~2b", "/ x ", "/tags/0", "/tags/-", "/x//y", "/~", "/locations",
    "/é",
]  # fmt: skip


def test_patch_of_every_attribute(pair: Pair) -> None:
    for path in BASE_PATHS.split():
        for operation in ("add", "replace"):
            for value in ("zz", 1, True, None, ["t"], {}):
                patch(pair, change(operation, path, value))
        patch(pair, change("remove", path))
    pair.same("GET", "/v2/images/{a}")


def test_patch_pointers(pair: Pair) -> None:
    for path in POINTERS:
        for operation in ("add", "replace", "remove"):
            patch(pair, change(operation, path, *([] if operation == "remove" else ["v"])))
    pair.same("GET", "/v2/images/{a}")


def test_patch_documents(pair: Pair) -> None:
    bodies = [
        b"", b"{}", b"[", b"[1]", b"[[]]", b"[{}]", b"null", b'"x"', b"[]",
        b'[{"op":"move","path":"/x","from":"/y"}]', b'[{"op":"test","path":"/x","value":"1"}]',
        b'[{"op":"add","path":"/y"}]', b'[{"op":"add","value":"y"}]', b'[{"path":"/y","value":"y"}]',
        b'[{"op":"remove","path":"/nope"}]', b'[{"op":1,"path":"/x","value":"y"}]',
    ]  # fmt: skip
    for body in bodies:
        for media_type in (PATCH_2_1, PATCH_2_0):
            pair.same("PATCH", "/v2/images/{a}", body, media_type)
    pair.differ("PATCH", "/v2/images/{a}", b'[{"op":"add","path":1,"value":"y"}]', PATCH_2_1, theirs=500, ours=400)
    for media_type in (None, "application/json", PATCH_2_1["Content-Type"].upper(), "application/x-json-patch"):
        pair.same("PATCH", "/v2/images/{a}", b"[]", {"Content-Type": media_type} if media_type else {})
    pair.same("PATCH", "/v2/images/{a}", b"[]", {"Content-Type": f"{PATCH_2_1['Content-Type']}; charset=utf8"})


def test_patch_of_the_older_kind(pair: Pair) -> None:
    def old(entry: dict[str, Any]) -> None:
        pair.same("PATCH", "/v2/images/{a}", json.dumps([entry]).encode(), PATCH_2_0)

    for operation in ("add", "replace", "remove"):
        for path in ("/name", "/x", "/brand_new", "/tags"):
            old({operation: path} if operation == "remove" else {operation: path, "value": "v"})
    old({"add": "/z", "replace": "/z", "value": "v"})
    old({"value": "v"})
    for entry in ({"add": "/zz", "value": "1"}, {"add": "/zz", "value": "1"}, {"replace": "/zz", "value": "2"}):
        old(entry)
    old({"remove": "/zz"})
    pair.same("GET", "/v2/images/{a}")


def test_patch_is_all_or_nothing(pair: Pair) -> None:
    patch(pair, change("add", "/m", "1"), change("replace", "/m", "2"), change("remove", "/m"))
    patch(pair, change("add", "/m2", "1"), change("remove", "/nope"))
    patch(pair, change("replace", "/tags", ["a", "b", "a"]))
    patch(pair, change("replace", "/tags", ["x" * 256]))
    patch(pair, change("replace", "/name", "n" * 256))
    patch(pair, change("replace", "/name", ASTRAL))
    patch(pair, change("add", "/long", "x" * 70_000))
    for value in (2**31, -1, 4):
        patch(pair, change("replace", "/min_disk", value))
    pair.same("GET", "/v2/images/{a}")


def test_patch_of_what_is_the_services_own(pair: Pair) -> None:
    too_long = json.dumps([change("add", "/" + "p" * 256, "x")]).encode()
    pair.differ("PATCH", "/v2/images/{a}", too_long, PATCH_2_1, theirs=200, ours=400)  # D9
    shadow = json.dumps([change("add", "/stores", "x")]).encode()
    pair.differ("PATCH", "/v2/images/{a}", shadow, PATCH_2_1, theirs=200, ours=403)  # D6


def test_owners_and_visibility(pair: Pair) -> None:
    patch(pair, change("replace", "/owner", "p2"))
    for visibility in ("private", "community", "shared", "public", "x"):
        patch(pair, change("replace", "/visibility", visibility))
    patch(pair, change("replace", "/visibility", "public"), who="admin")
    patch(pair, change("replace", "/name", "mine now"), who="alt")
    patch(pair, change("replace", "/owner", "p2"), who="admin")
    pair.same("GET", "/v2/images/{a}", who="admin")


def test_tags(pair: Pair) -> None:
    for tag in ("t1", "a%20b", "x" * 255, "x" * 256, "a%2Fb"):
        pair.same("PUT", f"/v2/images/{{a}}/tags/{tag}")
        pair.same("GET", "/v2/images/{a}")
        pair.same("DELETE", f"/v2/images/{{a}}/tags/{tag}")
        pair.same("DELETE", f"/v2/images/{{a}}/tags/{tag}")
    for who in ("demo-reader", "alt", "nova", "nobody"):
        pair.same("PUT", "/v2/images/{a}/tags/t", who=who)
    pair.same("PUT", "/v2/images/{a}/tags/t", b"body")
    pair.differ("PUT", "/v2/images/{a}/tags/a%F0%9F%98%80", theirs=204, ours=400)  # D14: kept as other characters


RANGES = [
    "bytes=0-3", "bytes=3-", "bytes=-3", "bytes=-0", "bytes=-99", "bytes=0-99", "bytes=0-1,3-4", "bytes= 0-1",
    "bytes=0 - 1",
]  # fmt: skip
BAD_RANGES = ["bytes=10-", "bytes=11-", "bytes=5-2", "bytes=x", "bytes", "items=0-1"]


def test_upload_and_download(pair: Pair) -> None:
    file = "/v2/images/{a}/file"
    pair.same("GET", file)
    pair.differ("GET", file, headers={"Range": "bytes=0-1"}, theirs=None, ours=204)  # D15
    pair.make("formless", {"name": "formless"})
    pair.same("PUT", "/v2/images/{formless}/file", b"abc", OCTETS)
    pair.same("PUT", f"/v2/images/{UNKNOWN}/file", b"abc", OCTETS)
    for headers in ({}, JSON):
        pair.same("PUT", file, b"abc", headers)
    for size in ("x", "4", "2"):
        pair.same("PUT", file, b"abc", {**OCTETS, "x-openstack-image-size": size})
        pair.same("GET", "/v2/images/{a}")
    for who in ("demo-reader", "alt", "nova", "nobody"):
        pair.same("PUT", file, b"abc", OCTETS, who=who)
    pair.same("PUT", file, b"0123456789", {**OCTETS, "x-image-meta-store": "not looked at"})
    pair.same("PUT", file, b"0123456789", OCTETS)
    pair.same("GET", "/v2/images/{a}")
    for who in ("admin", "demo", "demo-reader", "alt", "nova", "nobody"):
        pair.same("GET", file, who=who)
    for wanted in RANGES:
        pair.same("GET", file, headers={"Range": wanted})
    for wanted in BAD_RANGES:  # ours tells the size in Content-Range as well
        pair.differ("GET", file, headers={"Range": wanted}, theirs=416, ours=416)
    for wanted in ("bytes 0-3/*", "bytes 0-3/10"):
        pair.same("GET", file, headers={"Content-Range": wanted})
    pair.same("GET", f"{file}?prefer=x")
    pair.same("GET", file, b"body")
    for path in ("/disk_format", "/container_format"):
        patch(pair, change("replace", path, "raw"))


def test_actions(pair: Pair) -> None:
    pair.same("POST", "/v2/images/{a}/actions/deactivate")
    pair.same("PUT", "/v2/images/{a}/file", b"0123456789", OCTETS)
    for action in ("deactivate", "deactivate", "reactivate", "reactivate", "explode"):
        for who in ("demo-reader", "alt", "nova", "nobody", "demo"):
            pair.same("POST", f"/v2/images/{{a}}/actions/{action}", who=who)
        for who in ("demo", "admin"):
            pair.same("GET", "/v2/images/{a}", who=who)
            pair.same("GET", "/v2/images/{a}/file", who=who)
    pair.same("POST", "/v2/images/{a}/actions/deactivate", b"{}", JSON)


def test_members(pair: Pair, keystone: Keystone) -> None:
    members = "/v2/images/{a}/members"
    alt = keystone.project_id("alt")
    pair.same("GET", members)
    for body in (b"", b"{}", b"[]", b'{"member":""}', b'{"member":null}', b'"x"', document(member=ASTRAL)):
        pair.same("POST", members, body, JSON)
    pair.differ("POST", members, document(member=1), JSON, theirs=200, ours=400)
    pair.differ("POST", members, document(member="m" * 256), JSON, theirs=200, ours=400)
    pair.make("s", {"name": "s", **RAW})
    members = "/v2/images/{s}/members"
    for who in ("alt", "demo-reader", "nova", "nobody", "demo", "demo"):
        pair.same("POST", members, document(member=alt), JSON, who=who)
    pair.same("POST", members, document(member="p3", other=1), JSON)
    everyone = ("admin", "demo", "demo-reader", "alt", "nova", "nobody")
    for status in (None, "", "zz", "pending", "accepted", "rejected"):
        body = b"{}" if status is None else document(status=status)
        for who in ("demo", "demo-reader", "nova", "nobody", "alt"):
            pair.same("PUT", f"{members}/{alt}", body, JSON, who=who)
        for who in everyone:
            for path in (members, f"{members}/{alt}", f"{members}/p3", f"{members}/nobody", "/v2/images/{s}"):
                pair.same("GET", path, who=who)
            pair.same("GET", "/v2/images?name=s", who=who)
            pair.same("GET", "/v2/images?name=s&member_status=all", who=who)
    for body in (b"", b"[]", document(status="accepted", other=1)):
        pair.same("PUT", f"{members}/{alt}", body, JSON, who="alt")
    pair.same("PUT", f"{members}/nobody", document(status="accepted"), JSON, who="admin")
    for who in ("alt", "demo-reader", "nobody", "demo", "demo"):
        pair.same("DELETE", f"{members}/{alt}", who=who)
    pair.same("POST", members, document(member=alt), JSON)
    patch(pair, change("replace", "/visibility", "private"), name="s")
    for who in ("demo", "alt"):
        for method, path, sent in (
            ("GET", members, None),
            ("GET", f"{members}/{alt}", None),
            ("POST", members, document(member="p9")),
            ("PUT", f"{members}/{alt}", document(status="accepted")),
            ("DELETE", f"{members}/{alt}", None),
        ):
            pair.same(method, path, sent, JSON if sent else None, who=who)


QUERY_TEXT = """
limit=0 limit=-1 limit=x limit=1 limit=1001 limit= marker=nope marker={l2} marker= sort=name sort=name:asc sort=name:up
sort=nope sort= sort=name:asc,size:desc sort=name&sort_key=name sort_key=name sort_key=name&sort_dir=asc
sort_key=name&sort_key=size&sort_dir=asc&sort_dir=desc&sort_dir=asc sort_dir=asc sort_key=nope sort_dir=up
visibility=public visibility=x visibility= visibility=all visibility=community visibility=shared visibility=private
member_status=x member_status= member_status=all os_hidden=true os_hidden=TRUE os_hidden=x os_hidden= protected=true
protected=True protected= name=a name=eq:a name=in:a,q name=in:"a,b",q name=neq:a name=x:y name=in:"a name=in: name=
status=active status=in:active,queued status=nope id={l1} id=in:{l1},{l2} id=nope created_at=gt:2020-01-01
created_at=2020-01-01T00:00:00Z created_at=in:2020-01-01 created_at=zz created_at=gt:zz created_at=
created_at=gte:2030-01-01 updated_at=lt:2020-01-01T00:00:00%2B02:00 created_at=neq:2020-01-01 size_min=1 size_max=x
size_min= min_ram_min=0 tag=a tag= owner=p owner= checksum=x size=10 size=x virtual_size=1 min_disk=0 min_disk=x
changes-since=2020 deleted=true x=1 x= nope=1 disk_format=raw disk_format=in:raw,qcow2 container_format=bare name=%ff
%ff=1 os_hash_algo=sha512 os_hash_value=x sort=name:asc:x sort=%20name%20 is_public=true =x x=eq:1 sort=created_at:asc
sort=min_disk sort=visibility sort=owner sort=updated_at sort=status:asc sort=disk_format
"""


def test_lists(pair: Pair) -> None:
    """In a project whose images are the same on both sides: the tests of faults leave others different."""
    for name, document in {
        "l1": {"name": "a", "tags": ["a"], "x": "1", **RAW},
        "l2": {"name": "b", "min_disk": 3, "visibility": "private", "disk_format": "qcow2"},
        "l3": {"name": "q", "os_hidden": True},
        "l4": {"name": None, "protected": True},
    }.items():
        pair.make(name, document, who="spare")
    pair.same("PUT", "/v2/images/{l1}/file", b"0123456789", OCTETS, who="spare")
    for query in QUERY_TEXT.split():
        own = "" if query.startswith("owner=") else "owner={spare}&"
        pair.same("GET", f"/v2/images?{own}{query}", who="spare")
    for who in ("demo-reader", "nova", "nobody"):
        pair.same("GET", "/v2/images?limit=0", who=who)
    for query in ("foo_min=1", "properties=1", "locations=1", "members=1"):  # D4
        pair.differ("GET", f"/v2/images?{query}", theirs=500, ours=200)


def test_delete(pair: Pair) -> None:
    patch(pair, change("replace", "/protected", True))
    for who in ("demo", "admin"):
        pair.same("DELETE", "/v2/images/{a}", who=who)
    patch(pair, change("replace", "/protected", False))
    for who in ("demo-reader", "alt", "nova", "nobody", "demo", "demo"):
        pair.same("DELETE", "/v2/images/{a}", who=who)
    for who in ("demo", "admin"):
        pair.same("GET", "/v2/images/{a}", who=who)
        pair.same("POST", "/v2/images", b'{"id":"{a}"}', JSON, who=who)
        pair.same("GET", "/v2/images?marker={a}&limit=0", who=who)
    pair.same("PUT", "/v2/images/{a}/file", b"x", OCTETS)
    pair.same("GET", "/v2/images/{a}/file")
    pair.same("POST", "/v2/images/{a}/members", document(member="p2"), JSON)


def test_paths_and_methods(pair: Pair) -> None:
    for method, path in (
        ("GET", "/"), ("POST", "/"), ("HEAD", "/"), ("GET", "/versions"), ("GET", "/versions/"), ("PUT", "/versions"),
        ("GET", "/versions/x"), ("GET", "/v1/images"), ("GET", "/v3"), ("GET", "/v2"), ("GET", "/v2.0"),
        ("GET", "/v2/"), ("GET", "/v2.0/"), ("GET", "/v2.7/images?limit=0"), ("GET", "/v2.99/images"),
        ("GET", "/v2.8/images"),
        ("GET", "/v2.18/images"), ("GET", "/images"), ("OPTIONS", "/v2/images"), ("OPTIONS", "/"),
        ("TRACE", "/v2/images"), ("FOO", "/v2/images"), ("FOO", "/v2/nope"), ("GET", "/v2/nope"),
        ("DELETE", "/v2/images"), ("PUT", "/v2/images"), ("PATCH", "/v2/images"), ("POST", "/v2/images/{a}"),
        ("GET", "/v2//images?limit=0"), ("GET", "/v2/images/"), ("GET", "/v2/schemas/nope"), ("GET", "/v2/schemas"),
        ("POST", "/v2/schemas/image"), ("GET", "/v2/info"), ("GET", "/healthcheck"), ("POST", "/healthcheck"),
        ("HEAD", "/healthcheck"), ("GET", "/healthcheck/x"),
        ("GET", "/v2/info/import"), ("POST", "/v2/info/import"), ("GET", "/v2/info/stores"),
        ("GET", "/v2/info/usage"), ("POST", "/v2/info/usage"), ("GET", "/v2/info/stores/detail"),
        ("GET", "/v2/cache"), ("POST", "/v2/cache"), ("PUT", "/v2/cache/{a}"), ("GET", "/v2/cache/nodes/{a}"),
        ("GET", "/v2/images/{a}/import"), ("GET", "/v2/images/{a}/stage"), ("POST", "/v2/images/{a}/tasks"),
        ("GET", "/v2/images/{a}/tasks"),
    ):  # fmt: skip
        pair.same(method, path, who="admin")
        if not path.startswith("/v2/cache"):  # whom it tells first that there is none is nobody's concern
            pair.same(method, path, who="nobody")
    for accept in ("application/vnd.openstack.images-v2.3", "application/vnd.openstack.images-v2.33"):
        pair.same("GET", "/images?limit=0", headers={"Accept": accept})
    pair.same("GET", "/healthcheck", headers={"Accept": "application/json"})
    for body in (b"", b"{}", b'{"method":{"name":"web-download","uri":"http://a/b"}}'):
        pair.same("POST", "/v2/images/{a}/import", body, JSON)
    pair.same("PUT", "/v2/images/{a}/stage", b"data", OCTETS)


@pytest.mark.parametrize("accept", [None, "text/plain", "*/*", "text/html", "application/xml"])
def test_error_bodies_have_the_same_shape(pair: Pair, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    pair.same("GET", f"/v2/images/{UNKNOWN}", headers=headers, words_count=True)
    pair.same("GET", "/v2/nowhere", headers=headers, words_count=True)


def test_schemas_describe_the_same(pair: Pair) -> None:
    def described(side: Side, name: str) -> Any:
        answer = side.ask("demo", "GET", f"/v2/schemas/{name}", None, {})
        return without_descriptions(json.loads(answer.body))

    for name in ("image", "images", "member", "members", "task", "tasks"):
        assert described(pair.ours, name) == described(pair.theirs, name), name


def without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: without_descriptions(each)
            for key, each in value.items()
            if not (key == "description" and isinstance(each, str))
        }
    return [without_descriptions(each) for each in value] if isinstance(value, list) else value
