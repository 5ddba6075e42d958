"""Images of RBD's are closed when that is safe, and all of them are."""

import time
from types import SimpleNamespace

import pytest

from blick.stores.ceph_bindings import CephBindings
from blick.stores.rbd.opened import SETTLED_AFTER_S, Lingering, opened


class LibraryError(Exception):
    """What the library raises."""


class LibraryImage:
    """Notes when it was closed."""

    def __init__(self, *, fails: bool = False) -> None:
        self.closed_at_s: float | None = None
        self._fails = fails

    def close(self) -> None:
        assert self.closed_at_s is None
        self.closed_at_s = time.monotonic()
        if self._fails:
            raise LibraryError("cannot")


@pytest.fixture
def lingering() -> Lingering:
    library = SimpleNamespace(Error=LibraryError)
    return Lingering(CephBindings(rados=library, rbd=library))


def test_nothing_is_closed_too_soon_or_forgotten(lingering: Lingering) -> None:
    begun_at_s = time.monotonic()
    images = [LibraryImage() for _ in range(5)]
    for image in images:
        lingering.close(opened(image))
    lingering.close_all()
    for image in images:
        assert image.closed_at_s is not None
        assert image.closed_at_s >= begun_at_s + SETTLED_AFTER_S


def test_later_calls_close_what_was_left(lingering: Lingering) -> None:
    first = LibraryImage()
    taken = opened(first)
    lingering.close(taken)
    taken.settle()
    lingering.close(opened(LibraryImage()))
    assert first.closed_at_s is not None


def test_what_was_open_for_long_is_closed_at_once(lingering: Lingering) -> None:
    taken = opened(LibraryImage())
    taken.settle()
    lingering.close(taken)
    assert taken.image.closed_at_s is not None


def test_one_that_cannot_be_closed_keeps_no_other_open(lingering: Lingering, caplog: pytest.LogCaptureFixture) -> None:
    images = [LibraryImage(fails=True), LibraryImage()]
    for image in images:
        lingering.close(opened(image))
    lingering.close_all()
    assert all(image.closed_at_s is not None for image in images)
    assert "cannot be closed" in caplog.text
