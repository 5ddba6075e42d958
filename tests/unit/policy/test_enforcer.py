"""The rules in force: remote checks, reloads, circles, what is remembered."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tests.support.records import image as stored_image

from blick.conf.settings import PolicySettings, RemoteCheckSettings
from blick.model.context import RequestContext
from blick.model.errors import ServiceUnavailable, StartRefused
from blick.policy.enforcer import Enforcer
from blick.stream.hop import hop

MEMBER = RequestContext("req-1", user_id="u", project_id="p", roles=frozenset({"member", "reader"}))


def enforcer(folder: Path, **rules: str) -> Enforcer:
    (folder / "policy.yaml").write_text(json.dumps(rules))
    return Enforcer(PolicySettings(policy_file=folder / "policy.yaml", policy_dirs=(folder / "policy.d",)))


@dataclass(frozen=True)
class Asked:
    """One question to the server below."""

    path: str
    content_type: str
    body: bytes


class DecisionServer:
    """Says True to whatever ends in /yes. One that hangs says so in `asked` and waits for `go_on`."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.requests: list[Asked] = []
        self.asked, self.go_on = threading.Event(), threading.Event()
        if not hangs:
            self.go_on.set()
        decider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                decider.requests.append(Asked(self.path, self.headers["content-type"], body))
                decider.asked.set()
                decider.go_on.wait(60)
                answer = b"True" if self.path.endswith("/yes") else b"False"
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "DecisionServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_start_does_not_load_an_http_client() -> None:
    program = (
        "import sys; from blick.conf.settings import PolicySettings; from blick.policy.enforcer import Enforcer; "
        "Enforcer(PolicySettings()); print('requests' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


async def test_a_rule_may_still_ask_a_remote_server(tmp_path: Path) -> None:
    with DecisionServer() as server:
        rules = enforcer(tmp_path, upload_image=f"{server.url}/yes", delete_image=f"not {server.url}/yes")
        for _ in range(2):  # nothing of it is remembered
            assert await rules.allows("upload_image", MEMBER, {"project_id": "p"})
            assert not await rules.allows("delete_image", MEMBER, {"project_id": "p"})
        await hop(None, rules.close)
    assert [request.path for request in server.requests] == ["/yes"] * 4


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/json"])
async def test_a_remote_server_is_told_everything(tmp_path: Path, content_type: str) -> None:
    image = stored_image(properties={"colour": "blue"}, tags=("a", "b"))
    with DecisionServer() as server:
        (tmp_path / "policy.yaml").write_text(f'get_image: "{server.url}/%(colour)s/yes"')
        remote = RemoteCheckSettings(content_type=content_type)
        rules = Enforcer(PolicySettings(tmp_path / "policy.yaml", (), remote=remote))
        assert await rules.visible(MEMBER, [image, image]) == [image, image]
    asked = server.requests[0]
    assert asked.path == "/blue/yes"
    assert asked.content_type == content_type
    if content_type == "application/json":
        told = json.loads(asked.body)
    else:
        told = {name: json.loads(text) for name, text in parse_qsl(asked.body.decode())}
    assert told["rule"] == "get_image"
    assert told["target"]["tags"] == ["a", "b"]
    assert told["target"]["project_id"] == image.owner
    assert (told["credentials"]["project_id"], sorted(told["credentials"]["roles"])) == ("p", ["member", "reader"])


async def test_a_remote_server_holds_up_nobody_else(tmp_path: Path) -> None:
    with DecisionServer(hangs=True) as server:
        rules = enforcer(tmp_path, upload_image=f"{server.url}/yes")
        waiting = [asyncio.create_task(rules.allows("upload_image", MEMBER, {})) for _ in range(5)]
        await hop(None, server.asked.wait, 60)
        assert await rules.allows("get_images", MEMBER, {"project_id": "p"})
        # The rules change meanwhile: who asked before is decided by what was in force then.
        (tmp_path / "policy.yaml").write_text('upload_image: "!"')
        rules.refresh()
        assert not await rules.allows("upload_image", MEMBER, {})
        assert not any(task.done() for task in waiting)
        server.go_on.set()
        assert await asyncio.gather(*waiting) == [True] * 5


async def test_a_remote_server_that_does_not_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with DecisionServer() as server:
        url = server.url
    rules = enforcer(tmp_path, upload_image=f"{url}/yes or role:member", delete_image=f"role:member or {url}/yes")
    with pytest.raises(ServiceUnavailable, match="decides about upload_image"):
        await rules.allows("upload_image", MEMBER, {})
    assert "policy rule upload_image" in caplog.text
    assert await rules.allows("delete_image", MEMBER, {})  # nobody had to be asked


async def test_a_remote_server_that_takes_too_long(tmp_path: Path) -> None:
    with DecisionServer(hangs=True) as server:
        (tmp_path / "policy.yaml").write_text(f'get_image: "{server.url}/yes"')
        remote = RemoteCheckSettings(timeout_s=0.01)
        rules = Enforcer(PolicySettings(tmp_path / "policy.yaml", (), remote=remote))
        with pytest.raises(ServiceUnavailable):
            await rules.allows("get_image", MEMBER, {})
        server.go_on.set()


def test_a_broken_file_refuses_the_start_and_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("delete_image: [unclosed")
    with pytest.raises(StartRefused, match="policy_file"):
        Enforcer(PolicySettings(policy_file=tmp_path / "policy.yaml"))


async def test_what_is_remembered_is_told_apart_by_all_that_the_rule_sees(tmp_path: Path) -> None:
    rules = enforcer(
        tmp_path,
        delete_image="role:member and project_id:%(owner)s and 'blue':%(colour)s",
        upload_image="user_id:%(user)s",
    )
    mine = {"owner": "p", "colour": "blue"}
    stranger = RequestContext("req-2", user_id="u", project_id="q", roles=frozenset({"member"}))
    reader = RequestContext("req-3", user_id="u", project_id="p", roles=frozenset({"reader"}))
    for _ in range(2):
        assert await rules.allows("delete_image", MEMBER, mine)
        assert not await rules.allows("delete_image", MEMBER, {"owner": "p", "colour": "red"})
        assert not await rules.allows("delete_image", MEMBER, {"owner": "p"})
        assert not await rules.allows("delete_image", stranger, mine)
        assert not await rules.allows("delete_image", reader, mine)
        assert await rules.allows("upload_image", MEMBER, {"user": "u"})
        assert not await rules.allows("upload_image", MEMBER, {"user": "v"})


async def test_nothing_is_remembered_across_a_change_of_the_file(tmp_path: Path) -> None:
    rules = enforcer(tmp_path, delete_image="@")
    assert await rules.allows("delete_image", MEMBER, {"project_id": "x"})
    (tmp_path / "policy.yaml").write_text(json.dumps({"delete_image": "role:nobody-has-this"}))
    rules.refresh()
    assert not await rules.allows("delete_image", MEMBER, {"project_id": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", "v"),
        ("project_id", "q"),
        ("user_domain_id", "d"),
        ("project_domain_id", "d"),
        ("domain_id", "d"),
        ("system_scope", "all"),
        ("is_admin", True),
        ("is_admin_project", False),
        ("service_user_id", "s"),
        ("service_user_domain_id", "s"),
        ("service_project_id", "s"),
        ("service_project_domain_id", "s"),
        ("read_only", True),
    ],
)
async def test_callers_are_told_apart_by_all_that_rules_see(tmp_path: Path, name: str, value: object) -> None:
    rules = enforcer(tmp_path, own=f"{name}:%(wanted)s")
    other = replace(MEMBER, **{name: value})
    for _ in range(2):
        assert not await rules.allows("own", MEMBER, {"wanted": str(value)})
        assert await rules.allows("own", other, {"wanted": str(value)})


async def test_callers_are_told_apart_by_their_roles(tmp_path: Path) -> None:
    rules = enforcer(tmp_path, own="role:extra", of_service="service_roles:extra")
    for rule, field in (("own", "roles"), ("of_service", "service_roles")):
        for _ in range(2):
            assert not await rules.allows(rule, MEMBER, {})
            assert await rules.allows(rule, replace(MEMBER, **{field: frozenset({"extra", "more"})}), {})


@pytest.mark.parametrize(
    ("rules", "circle"),
    [
        ({"a": "rule:a"}, "a → a"),
        ({"a": "rule:b", "b": "role:x or (role:y and not rule:c)", "c": "rule:a"}, "a → b → c → a"),
        ({"default": "rule:nowhere"}, "default → default"),
        ({"context_is_admin": "rule:metadef_admin"}, "context_is_admin → metadef_admin → context_is_admin"),
    ],
)
async def test_circles(tmp_path: Path, rules: dict[str, str], circle: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StartRefused, match=f"in a circle: {circle}$"):
        enforcer(tmp_path, **rules)
    running = enforcer(tmp_path, get_images="@")
    (tmp_path / "policy.yaml").write_text(json.dumps({**rules, "get_images": "!"}))
    with caplog.at_level(logging.ERROR):
        running.refresh()
    assert f"in a circle: {circle}" in caplog.text
    assert await running.allows("get_images", MEMBER, {})
    (tmp_path / "policy.yaml").write_text('{"get_images": "role:nobody-has-this"}')
    running.refresh()
    assert not await running.allows("get_images", MEMBER, {})


async def test_no_circle_where_rules_share_a_rule(tmp_path: Path) -> None:
    many = {f"r{number}": f"rule:r{number + 1} and rule:r{number + 1}" for number in range(12)}
    rules = enforcer(tmp_path, **many, r12="role:member")
    assert await rules.allows("r0", MEMBER, {})


async def test_the_ancient_form(tmp_path: Path) -> None:
    """A list of lists: one of the outer ones, all of the inner ones."""
    forms = {
        "get_images": [["role:nobody-has-this"], ["role:member", "project_id:%(project_id)s"]],
        "add_image": [["role:member", "role:nobody-has-this"]],
        "delete_image": [],
        "upload_image": ["role:member"],
    }
    (tmp_path / "policy.yaml").write_text(json.dumps(forms))
    rules = Enforcer(PolicySettings(tmp_path / "policy.yaml", ()))
    mine, others = {"project_id": "p"}, {"project_id": "q"}
    assert await rules.allows("get_images", MEMBER, mine)
    assert not await rules.allows("get_images", MEMBER, others)
    assert not await rules.allows("add_image", MEMBER, mine)
    assert await rules.allows("delete_image", MEMBER, others)
    assert await rules.allows("upload_image", MEMBER, others)


@pytest.mark.parametrize(
    "check",
    [
        "1x:%(owner)s",
        "role:100%",
        "role:%(owner)d",
        "not role:%(owner)d",
        "project_id.name:x",
        "not project_id.name:x",
        "role:%(nowhere)s or role:%",
    ],
)
async def test_a_rule_that_makes_no_sense_lets_nobody_pass(
    tmp_path: Path, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    rules = enforcer(tmp_path, get_images=check)
    for _ in range(2):
        assert not await rules.allows("get_images", MEMBER, {"owner": "p"})
    assert "get_images makes no sense" in caplog.text


async def test_a_name_that_nobody_defined_means_the_default_rule(tmp_path: Path) -> None:
    assert await enforcer(tmp_path, get_images="rule:nowhere").allows("get_images", MEMBER, {})
    closed = enforcer(tmp_path, get_images="rule:nowhere", default="!")
    assert not await closed.allows("get_images", MEMBER, {})
    assert await closed.allows("get_image", MEMBER, {"project_id": "p"})
    (tmp_path / "policy.yaml").write_text('{"get_images": "rule:nowhere", "own": "role:member"}')
    for named, passes in (("own", True), ("nobody_defined_this_either", False)):
        rules = Enforcer(PolicySettings(tmp_path / "policy.yaml", (), policy_default_rule=named))
        assert await rules.allows("get_images", MEMBER, {}) == passes


@pytest.mark.parametrize(
    ("check", "targets"),
    [
        ("'True':%(flag)s", [({"flag": True}, True), ({"flag": 1}, False), ({"flag": "True"}, True), ({}, False)]),
        ("'1':%(flag)s", [({"flag": 1}, True), ({"flag": True}, False), ({"flag": 1.0}, False)]),
        ("'None':%(flag)s", [({"flag": None}, True), ({}, False), ({"flag": "None"}, True)]),
        ("not 'x':%(flag)s", [({"flag": "x"}, False), ({"flag": "y"}, True), ({}, True)]),
        ("'a-b':%(x)s-%(y)s", [({"x": "a", "y": "b"}, True), ({"x": "a", "y": "c"}, False), ({"x": "a"}, False)]),
        ("'a':%(x(y))s", [({"x(y)": "a"}, True), ({"x(y)": "b"}, False)]),
        ("'100%':%(x)s%%", [({"x": "100"}, True), ({"x": "10"}, False)]),
        ("role:%(role)s", [({"role": "MEMBER"}, True), ({"role": "admin"}, False)]),
        ("'[1]':%(list)s", [({"list": [1]}, True), ({"list": [2]}, False)]),
        ("user_id:%s", [({}, False), ({"u": "u"}, False)]),
        ("rule:inner and 'a':%(x)s", [({"x": "a", "z": "1"}, True), ({"x": "a", "z": "2"}, False)]),
    ],
)
async def test_outcomes_are_remembered_for_what_they_are_about(
    tmp_path: Path, check: str, targets: list[tuple[dict[str, Any], bool]]
) -> None:
    rules = enforcer(tmp_path, get_images=check, inner="'1':%(z)s")
    for _ in range(2):
        for target, passes in targets:
            assert await rules.allows("get_images", MEMBER, target) == passes, target


async def test_more_outcomes_than_are_remembered(tmp_path: Path) -> None:
    rules = enforcer(tmp_path, get_images="project_id:%(owner)s")
    for number in range(9000):
        assert await rules.allows("get_images", MEMBER, {"owner": "p" if number % 2 else str(number)}) == (number % 2)


async def test_a_file_put_in_place_with_the_old_ones_time_and_size(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    rules = enforcer(tmp_path, get_images="role:member")
    assert await rules.allows("get_images", MEMBER, {})
    before = file.stat()
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({"get_images": "role:nobody"}))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert other.stat().st_size == before.st_size
    other.replace(file)
    rules.refresh()
    assert not await rules.allows("get_images", MEMBER, {})
