"""The rules in force: remote checks, reloads."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.model.errors import StartRefused
from blick.policy import enforcer as enforcer_module
from blick.policy.enforcer import Enforcer

MEMBER = RequestContext("req-1", user_id="u", project_id="p", roles=frozenset({"member", "reader"}))


def enforcer(folder: Path, **rules: str) -> Enforcer:
    (folder / "policy.yaml").write_text(json.dumps(rules))
    return Enforcer(PolicySettings(policy_file=folder / "policy.yaml", policy_dirs=(folder / "policy.d",)))


def test_a_start_does_not_load_an_http_client() -> None:
    program = (
        "import sys; from blick.conf.settings import PolicySettings; from blick.policy.enforcer import Enforcer; "
        "Enforcer(PolicySettings()); print('requests' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


async def test_a_rule_may_still_ask_a_remote_server(tmp_path: Path) -> None:
    asked: list[str] = []

    class Remote(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            answer = b"True" if self.path == "/yes" else b"False"
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Remote)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        rules = enforcer(tmp_path, upload_image=f"{url}/yes", delete_image=f"{url}/no")
        assert await rules.allows("upload_image", MEMBER, {"project_id": "p"})
        assert not await rules.allows("delete_image", MEMBER, {"project_id": "p"})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == ["/yes", "/no"]


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


def test_every_credential_that_rules_see_tells_callers_apart() -> None:
    seen = set(enforcer_module._credentials(MEMBER)) - {"tenant"}  # another name of project_id
    assert len(seen) == len(enforcer_module._who(MEMBER))
