"""Tempest's tests of the Images API: each that passes on the reference service passes here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.server import BlickServer
from tests.support.tempest import Tempest, TempestRun, read_list
from tests.support.web_server import WebServer

EXPECTED = Path(__file__).with_name("tempest_expected.txt")
LATER = Path(__file__).with_name("tempest_later.txt")
FAILURE_CHARACTERS = 20_000

pytestmark = pytest.mark.needs("keystone", "tempest")


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A server with the image that some tests have fetched by its address."""
    server = WebServer()
    server.start()
    yield server
    server.stop()


def blick(folder: Path, keystone: Keystone, web: WebServer) -> BlickServer:
    """Blick at that Keystone, with a file store and reading from web servers. Formats are not enforced: Tempest uploads
    random bytes in the name of every format, and leaves those tests out where a service looks."""
    return configured_server(
        folder,
        {
            "DEFAULT": {"workers": 2, "show_multiple_locations": "true", "show_image_direct_url": "true"},
            "glance_store": {"stores": "file,http", "default_store": "file"},
            "paste_deploy": {"flavor": "keystone"},
            "keystone_authtoken": keystone.authtoken_options(),
            "image_format": {"require_image_format_match": "false"},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        },
    )


def tempest(folder: Path, keystone: Keystone, web: WebServer) -> Tempest:
    return Tempest(
        folder,
        keystone,
        {
            "image": {"http_image": web.put(b"an image " * 5000), "build_timeout": 60},
            "image-feature-enabled": {
                "manage_locations": "true",
                "http_store_enabled": "true",
                "image_format_enforcement": "false",
            },
        },
    )


def test_expected_tests_pass(tmp_path: Path, web: WebServer) -> None:
    with Keystone(tmp_path / "keystone") as keystone, blick(tmp_path / "blick", keystone, web) as server:
        keystone.set_image_url(server.url)
        expected = frozenset(read_list(EXPECTED))
        done = tempest(tmp_path / "tempest", keystone, web).run(expected)
    missing = expected - done.passed
    assert not missing, explain(missing, done)


def test_lists_do_not_overlap() -> None:
    expected, later = read_list(EXPECTED), read_list(LATER)
    assert len(expected) == len(set(expected))
    assert not set(expected) & set(later)


def explain(missing: frozenset[str], done: TempestRun) -> str:
    reasons = [f"{name}: {reason}" for name, reason in sorted(done.skipped.items())]
    return "\n".join([*sorted(missing), "", *reasons, "", done.output[-FAILURE_CHARACTERS:]])
