"""Tempest's tests of the Images API: what passes on the reference service passes here.

tempest/<configuration>.txt are the tests that pass on the reference service, configured in that way, and here;
tempest/later.txt are those that pass there only, each with what it waits for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.config_file import configured_server
from tests.support.databases import Databases
from tests.support.keystone import Keystone
from tests.support.tempest import Tempest, TempestRun, read_list
from tests.support.web_server import WebServer

LISTS = Path(__file__).with_name("tempest")
FAILURE_CHARACTERS = 20_000

Options = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What Blick's file says beside the usual (`{folder}` is the test's), and what Tempest knows of it."""

    engine: str
    blick: Options
    features: Mapping[str, str]


LOCATIONS = {"show_multiple_locations": "true", "show_image_direct_url": "true"}
STORES: Options = {
    # Tempest expects an image that was imported in every store that can be written: more than one, and some tests fail.
    "DEFAULT": {**LOCATIONS, "enabled_backends": "fast:file,web:http"},
    "glance_store": {"default_backend": "fast"},
    "fast": {"filesystem_store_datadir": "{folder}/fast"},
}

CONFIGURATIONS: Mapping[str, Configuration] = {
    "single": Configuration(
        "sqlite",
        {
            "DEFAULT": LOCATIONS,
            "glance_store": {"stores": "file,http", "default_store": "file"},
            # Tempest uploads random bytes in the name of every format, or leaves those tests out.
            "image_format": {"require_image_format_match": "false"},
        },
        {"image_format_enforcement": "false"},
    ),
    "stores": Configuration("postgresql", STORES, {}),
    "unhashed": Configuration(
        "mariadb",
        {**STORES, "DEFAULT": {**STORES["DEFAULT"], "do_secure_hash": "false"}},
        {"do_secure_hash": "false"},
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
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if it.engine == "sqlite" else pytest.mark.needs(it.engine))
        for name, it in CONFIGURATIONS.items()
    ],
)
def test_expected_tests_pass(
    name: str, own_keystone: Keystone, web: WebServer, databases: Databases, tmp_path: Path
) -> None:
    expected = frozenset(read_list(LISTS / f"{name}.txt"))
    database_url = databases.untouched(CONFIGURATIONS[name].engine, tmp_path)
    done = run_tempest(CONFIGURATIONS[name], own_keystone, web, database_url, tmp_path, expected)
    missing = expected - done.passed
    assert not missing, explain(missing, done)


def run_tempest(
    configuration: Configuration,
    keystone: Keystone,
    web: WebServer,
    database_url: str,
    folder: Path,
    tests: frozenset[str] | None,
) -> TempestRun:
    """Tempest at a Blick of that configuration; `tests` None are all of the Images API."""
    groups: dict[str, dict[str, object]] = {
        group: {name: value.format(folder=folder) for name, value in options.items()}
        for group, options in configuration.blick.items()
    }
    groups["DEFAULT"] |= {"workers": 2}
    groups |= {
        "database": {"connection": database_url},
        "paste_deploy": {"flavor": "keystone"},
        "keystone_authtoken": keystone.authtoken_options(),
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
    }
    with configured_server(folder / "blick", groups) as server:
        keystone.set_image_url(server.url)
        features = {"http_store_enabled": "true", "manage_locations": "true"} | dict(configuration.features)
        image = {"http_image": web.put(b"an image " * 5000), "build_timeout": 60}
        options: Mapping[str, Mapping[str, object]] = {"image": image, "image-feature-enabled": features}
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
