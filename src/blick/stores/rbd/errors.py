"""What Ceph's libraries raise, in the words of the store contract."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from blick.model.errors import DataInUse, DataNotFound, StoreDenied, StoreError, StoreFull, StoreUnavailable
from blick.stores.ceph_bindings import CephBindings

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Not EROFS: that an image is read-only is what a writer hears whose lock was lost with the connection.
_DENIED = frozenset({errno.EPERM, errno.EACCES})
# Timed out, shut out by the cluster ("blocklisted"), or not connected: a new connection may do better.
LOST = frozenset({errno.ETIMEDOUT, errno.ESHUTDOWN, errno.ENOTCONN, errno.EROFS})


class CephError(Exception):
    """A call that gave an error number instead of raising: what runs on the side."""

    def __init__(self, number: int) -> None:
        self.errno = number
        super().__init__(os.strerror(number))


def number_of(error: Exception) -> int:
    """The error number that the library gave, 0 if none."""
    return abs(int(getattr(error, "errno", None) or 0))


def store_error(store: str, error: Exception) -> StoreError:
    """The store error that `error` amounts to. The library's own text may name hosts and files; clients see ours."""
    number = number_of(error)
    reason = os.strerror(number) if number else "Ceph's library failed"
    if number in _FULL:
        return StoreFull(store, "the pool or the cluster is full")
    if number in _DENIED:
        return StoreDenied(store, f"Ceph refuses this user: {reason}")
    if number == errno.ENOENT:
        return DataNotFound(store)
    if number == errno.EBUSY:
        return DataInUse(store)
    return StoreUnavailable(store, f"Ceph: {reason}")


@contextmanager
def as_store_errors(store: str, bindings: CephBindings) -> Iterator[None]:
    """Raise every error of Ceph's of the body as the StoreError that it amounts to."""
    try:
        yield
    except (bindings.rados.Error, bindings.rbd.Error, CephError) as error:
        raise store_error(store, error) from error
