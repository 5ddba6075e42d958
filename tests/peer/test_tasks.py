"""Tasks at the reference service and at Blick: lists, pages, filters, and what is refused, with the same tasks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.pair import Pair, Side
from tests.support.upstream import UpstreamGlance
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs("keystone", "upstream")

ACCOUNTS = ("admin", "demo", "demo-reader", "alt", "nova")
JSON = {"Content-Type": "application/json"}
ACCEPTS = ("", "text/plain", "application/json", "*/*")
UNKNOWN = "00000000-0000-4000-8000-000000000000"
# Tasks that fail at once, wherever they are started: what they need is not in their input.
FAILING: tuple[tuple[str, Any], ...] = (
    ("api_image_import", {}),
    ("location_import", {}),
    ("import", {"import_from": "http://127.0.0.1/x", "import_from_format": "raw"}),
    ("import", {"import_from": "http://127.0.0.1/x", "image_properties": {}}),
)


@pytest.fixture(scope="module")
def pair(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The two, with the tasks of `FAILING`, all over; `{t0}` … are their ids."""
    folder = tmp_path_factory.mktemp("tasks")
    options = {"import_filtering_opts": {"allowed_hosts": "[127.0.0.1]"}}
    upstream = UpstreamGlance(folder / "upstream", keystone=keystone, options=options)
    identity = {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.authtoken_options()}
    blick = configured_server(folder / "blick", {**options, **identity})
    tokens = {name: keystone.token(name) for name in ACCOUNTS} | {"nobody": ""}
    try:
        with upstream:
            blick.start()
            sides = Side(upstream.url, tokens), Side(blick.url, tokens)
            for side in sides:
                start_all(side)
            yield Pair(*sides)
    finally:
        blick.kill_all()


@pytest.fixture(autouse=True)
def no_difference(pair: Pair) -> Iterator[None]:
    yield
    pair.verify()


def start_all(side: Side) -> None:
    """One after the other, a second apart: the reference's order is by the second, and by random ids within one."""
    for number, (type_, asked) in enumerate(FAILING):
        body = json.dumps({"type": type_, "input": asked}).encode()
        answer = side.ask("admin", "POST", "/v2/tasks", body, JSON)
        assert answer.status == 201, answer
        side.ids[f"t{number}"] = task_id = json.loads(answer.body)["id"]
        eventually(lambda task_id=task_id: shown(side, task_id)["status"] == "failure")
        made_at = shown(side, task_id)["created_at"]
        eventually(lambda made_at=made_at: now_of(side) > made_at)


def shown(side: Side, task_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(side.ask("admin", "GET", f"/v2/tasks/{task_id}", None, {}).body)
    return document


def now_of(side: Side) -> str:
    """The service's time: that of an image which it makes now."""
    made = side.ask("admin", "POST", "/v2/images", b"{}", JSON)
    return str(json.loads(made.body)["created_at"])


def test_each_task(pair: Pair) -> None:
    for number in range(len(FAILING)):
        pair.same("GET", f"/v2/tasks/{{t{number}}}", who="admin")


def test_who_may(pair: Pair) -> None:
    body = json.dumps({"type": "import", "input": {}}).encode()
    for who in (*ACCOUNTS[1:], "nobody"):
        pair.same("GET", "/v2/tasks", who=who)
        pair.same("GET", "/v2/tasks/{t0}", who=who)
        pair.same("GET", f"/v2/tasks/{UNKNOWN}", who=who)
        pair.same("DELETE", "/v2/tasks/{t0}", who=who)
        pair.same("POST", "/v2/tasks", body, JSON, who=who)


@pytest.mark.parametrize(
    "query",
    [
        "", "limit=2", "limit=0", "limit=4", "limit=5", "limit=2&marker={t2}", "marker={t0}", "limit=1&wumm=1",
        "sort_dir=asc&limit=1", "sort_key=created_at&sort_dir=asc&limit=2&marker={t1}", "status=failure&limit=1",
        "status=success", "status=pending", "status=", "type=import", "type=import&limit=1", "type=", "owner=x",
        "id={t1}", "image_id=" + UNKNOWN, "request_id=x", "user_id=x", "created_at=2020", "updated_at=x",
        "expires_at=x", "message=x&limit=1", "deleted=true", "input=x", "result=x", "type=import&status=failure",
    ],
)  # fmt: skip
def test_lists(pair: Pair, query: str) -> None:
    pair.same("GET", f"/v2/tasks?{query}" if query else "/v2/tasks", who="admin")


@pytest.mark.parametrize(
    "query",
    [
        "limit=x", "limit=-1", "marker=x", f"marker={UNKNOWN}", "sort_key=nothing", "sort_key=message", "sort_dir=up",
        "status=done", "type=export", "type=api_image_import", "type=location_import", "%ff=x",
    ],
)  # fmt: skip
def test_lists_that_are_refused(pair: Pair, query: str) -> None:
    pair.same("GET", f"/v2/tasks?{query}", who="admin")


@pytest.mark.parametrize("accept", ACCEPTS)
def test_deleting_and_unknown_tasks(pair: Pair, accept: str) -> None:
    headers = {"Accept": accept} if accept else {}
    for task in ("{t0}", UNKNOWN, "nothing"):
        pair.same("DELETE", f"/v2/tasks/{task}", headers=headers, who="admin")
    for task in (UNKNOWN, "nothing", "x" * 300):
        pair.same("GET", f"/v2/tasks/{task}", headers=headers, who="admin")
    for method, path in (
        ("PUT", "/v2/tasks/{t0}"),
        ("PATCH", "/v2/tasks/{t0}"),
        ("PUT", "/v2/tasks"),
        ("DELETE", "/v2/tasks"),
    ):
        pair.same(method, path, headers=headers, who="admin")


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, {"input": {}}, {"type": "import"}, {"type": "export", "input": {}}, {"type": 7, "input": {}},
        {"type": "import", "input": []}, {"type": "import", "input": "x"}, {"type": "import", "input": None},
        {"type": "import", "input": {}}, {"type": "import", "input": {}, "status": "done"},
        {"type": "import", "input": {}, "id": "x"}, {"type": "import", "input": {}, "extra": "x"},
        {"type": "import", "input": {}, "self": "x", "owner": "x"},
        *(
            {"type": "import", "input": {"import_from": uri, "import_from_format": "raw", "image_properties": {}}}
            for uri in (
                "file:///etc/passwd", "swift://x", "ftp://127.0.0.1/x", "http://127.0.0.1:9/x", "http://127.0.0.2/x",
                "http://2130706433/x", "http://0177.0.0.1/x", "http://no-such-host.invalid/x", "nothing", "",
            )
        ),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(pair: Pair, body: Any) -> None:
    pair.same("POST", "/v2/tasks", json.dumps(body).encode(), JSON, who="admin")


def test_no_json(pair: Pair) -> None:
    for body in (b"", b"{", b'"x"', b"7", b"\xff"):
        pair.same("POST", "/v2/tasks", body, JSON, who="admin")


def test_faults_of_the_reference(pair: Pair) -> None:
    body = json.dumps({"type": "import", "input": {"import_from": 7, "image_properties": {}}}).encode()
    pair.differ("POST", "/v2/tasks", body, JSON, theirs=500, ours=400, who="admin")
    pair.differ("GET", "/v2/tasks?info=x", theirs=500, ours=200, who="admin")
