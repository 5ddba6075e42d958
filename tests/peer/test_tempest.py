"""Tempest's tests of the Images API: what passes on the reference service passes here.

tempest/<configuration>.txt are the tests that pass on the reference service, configured in that way, and here;
tempest/later.txt are those that pass there only, each with what it waits for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.tempest import Tempest, TempestRun, read_list
from tests.support.web_server import WebServer

LISTS = Path(__file__).with_name("tempest")
FAILURE_CHARACTERS = 20_000

Options = Mapping[str, Mapping[str, object]]

# By configuration: what Blick's file says beside the usual, and what Tempest is told about it.
CONFIGURATIONS: Mapping[str, tuple[Options, Options]] = {
    # Formats are not enforced: Tempest uploads random bytes in the name of every format, or leaves those tests out.
    "single": (
        {
            "DEFAULT": {"show_multiple_locations": "true", "show_image_direct_url": "true"},
            "glance_store": {"stores": "file,http", "default_store": "file"},
            "image_format": {"require_image_format_match": "false"},
        },
        {"image-feature-enabled": {"manage_locations": "true", "image_format_enforcement": "false"}},
    ),
}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A server with the image that some tests have fetched by its address."""
    server = WebServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def own_keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone whose catalog may change."""
    with Keystone(tmp_path_factory.mktemp("keystone")) as running:
        yield running


@pytest.mark.needs("keystone", "tempest")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_expected_tests_pass(name: str, own_keystone: Keystone, web: WebServer, tmp_path: Path) -> None:
    expected = frozenset(read_list(LISTS / f"{name}.txt"))
    done = run_tempest(name, own_keystone, web, tmp_path, expected)
    missing = expected - done.passed
    assert not missing, explain(missing, done)


def run_tempest(
    name: str, keystone: Keystone, web: WebServer, folder: Path, tests: frozenset[str] | None
) -> TempestRun:
    """Tempest at a Blick of that configuration; `tests` None are all of the Images API."""
    blick_options, tempest_options = CONFIGURATIONS[name]
    merged = {group: dict(options) for group, options in blick_options.items()}
    merged.setdefault("DEFAULT", {})["workers"] = 2
    identity: Options = {
        "paste_deploy": {"flavor": "keystone"},
        "keystone_authtoken": keystone.authtoken_options(),
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
    }
    with configured_server(folder / "blick", merged | identity) as server:
        keystone.set_image_url(server.url)
        features = {"http_store_enabled": "true"} | tempest_options.get("image-feature-enabled", {})
        image = {"http_image": web.put(b"an image " * 5000), "build_timeout": 60} | tempest_options.get("image", {})
        options = {**tempest_options, "image": image, "image-feature-enabled": features}
        return Tempest(folder / "tempest", keystone, options).run(tests)


def explain(missing: frozenset[str], done: TempestRun) -> str:
    """Which tests did not pass, and everything that says why."""
    reasons = [f"{name}: {reason}" for name, reason in sorted(done.skipped.items())]
    return "\n".join([*sorted(missing), "", *reasons, "", done.output[-FAILURE_CHARACTERS:]])


def test_every_list_belongs_to_a_configuration() -> None:
    assert {path.stem for path in LISTS.glob("*.txt")} == {*CONFIGURATIONS, "later"}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nothing_is_listed_twice(name: str) -> None:
    expected = read_list(LISTS / f"{name}.txt")
    later = [line.split()[1] for line in read_list(LISTS / "later.txt") if line.split()[0] == name]
    assert len({*expected, *later}) == len(expected) + len(later)
