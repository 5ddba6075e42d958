"""Servers for this tier: one that all harmless tests of a module share, and fresh ones to hurt."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer

# A process of the server that a test has killed must not outlive the test.
ServerFactory = Callable[..., BlickServer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlickServer]:
    """A running server; tests make images of their own and leave it running."""
    with BlickServer(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[ServerFactory]:
    """Makes servers that are not started yet; the arguments are BlickServer's, `folder` is chosen here.

    Whatever runs at the end of the test is killed.
    """
    with ExitStack() as stack:

        def make(name: str = "blick", **options: Any) -> BlickServer:
            made = BlickServer(tmp_path / name, **options)
            stack.callback(made.kill_all)
            return made

        yield make


@pytest.fixture
def api(server: BlickServer) -> Iterator[ImagesApi]:
    """User demo at the shared server."""
    with ImagesApi(server.url, server.clouds()["blick"]["auth"]) as client:
        yield client
