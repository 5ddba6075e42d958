"""Tempest, the field's own tests of a cloud, run against a Keystone and whatever image service its catalog names."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import environments
from tests.support.config_file import ini_text
from tests.support.keystone import Keystone
from tests.support.keystone_accounts import REGION
from tests.support.server import clean_environment

Options = Mapping[str, Mapping[str, object]]
IMAGE_TESTS = "tempest.api.image"
CONCURRENCY = 2
TIMEOUT_S = 1500.0
# {0} tempest.api.image.v2.test_versions.VersionsTest.test_list_versions [0.018s] ... ok
RESULT = re.compile(r"^\{\d+\} (?P<test>.+?) (\[[\d.]+s\] )?\.\.\. (?P<result>[A-Z]+|ok)(: (?P<reason>.*))?$", re.M)
LIST_LINE = re.compile(r"^[\w.]+")


@dataclass(frozen=True, slots=True)
class TempestRun:
    """What came of a run: `passed`, `skipped` (with the reason) and `failed` tests, and all that was printed."""

    passed: frozenset[str]
    skipped: Mapping[str, str]
    failed: frozenset[str]
    output: str

    def summary(self) -> str:
        counts = Counter(passed=len(self.passed), skipped=len(self.skipped), failed=len(self.failed))
        return ", ".join(f"{name}: {count}" for name, count in counts.items())


class Tempest:
    """A workspace for runs, set up with `folder` as its home."""

    def __init__(self, folder: Path, keystone: Keystone, options: Options | None = None) -> None:
        """`options` come last in tempest.conf, by group and name: they say what the image service can do."""
        self.folder = folder
        self._keystone = keystone
        self._options = options or {}

    def run(self, tests: Iterable[str] | None = None) -> TempestRun:
        """Runs the tests of these names, or else all of the Images API. A failing test is no error here."""
        workspace = self._workspace()
        selection = ["--regex", rf"^{re.escape(IMAGE_TESTS)}\."]
        if tests is not None:
            wanted = set(tests)
            listed = self._tempest(workspace, "run", "--list-tests", "--regex", rf"^{re.escape(IMAGE_TESTS)}\.").stdout
            full_names = [line for line in listed.splitlines() if test_name(line) in wanted]
            (workspace / "load-list").write_text("\n".join(full_names) + "\n")
            selection = ["--load-list", str(workspace / "load-list")]
        done = self._tempest(workspace, "run", "--concurrency", str(CONCURRENCY), *selection)
        return parse(done.stdout + done.stderr)

    def _workspace(self) -> Path:
        workspace = self.folder / "workspace"
        if not workspace.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tempest(self.folder, "init", str(workspace))
            (workspace / "etc/tempest.conf").write_text(ini_text(self._usual_options(workspace), self._options))
        return workspace

    def _tempest(self, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        bin_folder = environments.environment("tempest") / "bin"
        environment = clean_environment(self.folder)
        environment["PATH"] = f"{bin_folder}:{environment['PATH']}"  # it starts its workers by name
        return subprocess.run(
            [str(bin_folder / "tempest"), *arguments],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def _usual_options(self, workspace: Path) -> Options:
        admin = self._keystone.auth("admin")
        return {
            "DEFAULT": {"log_file": workspace / "tempest.log"},
            "oslo_concurrency": {"lock_path": workspace / "locks"},
            "auth": {
                "use_dynamic_credentials": "true",
                "admin_username": admin["username"],
                "admin_password": admin["password"],
                "admin_project_name": admin["project_name"],
                "admin_domain_name": "Default",
                "tempest_roles": "member",
                "create_isolated_networks": "false",
            },
            "identity": {
                "uri_v3": self._keystone.url,
                "auth_version": "v3",
                "region": REGION,
                "v3_endpoint_type": "public",
            },
            "service_available": dict.fromkeys(("nova", "neutron", "cinder", "swift", "horizon"), "false")
            | {"glance": "true"},
            "enforce_scope": {"glance": "true"},
            "image": {"region": REGION, "endpoint_type": "public"},
        }


def parse(output: str) -> TempestRun:
    """What the text of `tempest run` says; a class that fails or is skipped as a whole counts by its own name."""
    results: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    for found in RESULT.finditer(output):
        results.setdefault(found["result"], []).append(found["test"])
        if found["result"] == "SKIPPED":
            skipped[found["test"]] = found["reason"] or ""
    return TempestRun(frozenset(results.get("ok", [])), skipped, frozenset(results.get("FAILED", [])), output)


def test_name(line: str) -> str:
    """The name of a test without the marks behind it, in a line of a list; empty where there is none."""
    found = LIST_LINE.match(line)
    return found.group() if found else ""


def read_list(path: Path) -> Sequence[str]:
    """The names in a file with one test a line; `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]
