"""Tempest's tests of the Images API: what passes on the reference service passes here.

tempest/<configuration>.txt are the tests that pass on the reference service, configured in that way, and here;
tempest/later.txt are those that pass there only, each with what it waits for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.support.config_file import configured_server
from tests.support.databases import Databases
from tests.support.images import run
from tests.support.keystone import REMOTE_IMAGE, Keystone
from tests.support.server import HOST, BlickServer, free_port
from tests.support.tempest import Tempest, TempestRun, read_list
from tests.support.web_server import WebServer

LISTS = Path(__file__).with_name("tempest")
FAILURE_CHARACTERS = 20_000

Options = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What Blick's file says beside the usual (`{folder}` is the test's), and what Tempest knows of it.

    With `has_other_node` a second service of its own runs on the same database and stores, with a disk of its own for
    staged data.
    """

    engine: str
    blick: Options
    features: Mapping[str, str]
    has_other_node: bool = False


USUAL = {
    "show_multiple_locations": "true",
    "show_image_direct_url": "true",
    "enabled_import_methods": "[glance-direct,web-download,copy-image,glance-download]",
}
STORES: Options = {
    # Tempest expects an image that was imported in every store that can be written: more than one, and some tests fail.
    "DEFAULT": {**USUAL, "enabled_backends": "fast:file,web:http"},
    "glance_store": {"default_backend": "fast"},
    "fast": {"filesystem_store_datadir": "{folder}/fast"},
}
WEIGHTS: Options = {
    "DEFAULT": {**USUAL, "enabled_backends": "cheap:file,fast:file,web:http"},
    "glance_store": {"default_backend": "fast"},
    # Tempest compares with the sorted ids, so they are in the order of the weights.
    "cheap": {"filesystem_store_datadir": "{folder}/cheap", "weight": "100"},
    "fast": {"filesystem_store_datadir": "{folder}/fast", "weight": "50"},
}

CONFIGURATIONS: Mapping[str, Configuration] = {
    "single": Configuration(
        "sqlite",
        {
            "DEFAULT": USUAL,
            "glance_store": {"stores": "file,http", "default_store": "file"},
            # Tempest uploads random bytes in the name of every format, or leaves those tests out.
            "image_format": {"require_image_format_match": "false"},
        },
        {"image_format_enforcement": "false"},
    ),
    "stores": Configuration("postgresql", STORES, {}, has_other_node=True),
    "weights": Configuration("sqlite", WEIGHTS, {"store_weight_enabled": "true"}),
    "unhashed": Configuration(
        "mariadb",
        {**STORES, "DEFAULT": {**STORES["DEFAULT"], "do_secure_hash": "false"}},
        {"do_secure_hash": "false"},
    ),
}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A server with the image that some tests have fetched by its address."""
    with WebServer() as server:
        yield server


@pytest.fixture(scope="module")
def own_keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone whose catalog may change."""
    with Keystone(tmp_path_factory.mktemp("keystone")) as running:
        yield running


@pytest.mark.needs("keystone", "tempest", "qemu")
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
    groups |= {
        "database": {"connection": database_url},
        "paste_deploy": {"flavor": "keystone"},
        "keystone_authtoken": keystone.authtoken_options(),
    }
    ports = [free_port() for _ in range(2 if configuration.has_other_node else 1)]
    features = {"http_store_enabled": "true", "manage_locations": "true"} | dict(configuration.features)
    image: dict[str, object] = {
        "http_image": web.put(b"an image " * 5000),
        "http_qcow2_image": web.put(qcow2(folder)),
        "build_timeout": 60,
    }
    with ExitStack() as stack:
        server, *others = (
            stack.enter_context(
                configured_server(folder / f"node-{port}", node(folder, groups, web, ports, port), port=port)
            )
            for port in ports
        )
        load_metadefs(server)
        keystone.set_image_url(server.url)
        for other in others:
            keystone.set_remote_image_url(other.url)
            image["alternate_image_endpoint"] = REMOTE_IMAGE
        options: Mapping[str, Mapping[str, object]] = {"image": image, "image-feature-enabled": features}
        return Tempest(folder / "tempest", keystone, options).run(tests)


def load_metadefs(server: BlickServer) -> None:
    """The catalog of metadata definitions that Blick comes with: some tests want to find resource types."""
    config_file = server.folder / "glance-api.conf"
    done = run_command(server.folder, "--config-file", config_file, "db_load_metadefs", program="glance-manage")
    assert done.returncode == 0, done.stdout + done.stderr


def node(
    folder: Path, groups: Mapping[str, Mapping[str, object]], web: WebServer, ports: Sequence[int], port: int
) -> Mapping[str, Mapping[str, object]]:
    """What the file of the node at `port` says: it may fetch from our web server, and from every node."""
    staging = folder / f"staging-{port}"
    own = {"workers": 2, "node_staging_uri": staging.as_uri()}
    if len(ports) > 1:
        own["worker_self_reference_url"] = f"http://{HOST}:{port}"
    allowed = ",".join(map(str, [web.port, *ports]))
    more: dict[str, Mapping[str, object]] = {
        "DEFAULT": {**groups["DEFAULT"], **own},
        "import_filtering_opts": {"allowed_hosts": f"[{HOST}]", "allowed_ports": f"[{allowed}]"},
    }
    if "enabled_backends" in groups["DEFAULT"]:
        more["os_glance_staging_store"] = {"filesystem_store_datadir": staging}
        more["os_glance_tasks_store"] = {"filesystem_store_datadir": folder / f"tasks-{port}"}
    return {**groups, **more}


def qcow2(folder: Path) -> bytes:
    """A small disk in qcow2."""
    path = folder / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
    return path.read_bytes()


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
