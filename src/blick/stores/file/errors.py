"""What the operating system says about files, in the words of the store contract."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from blick.model.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
# ELOOP: a symbolic link stands where a file of ours should be; it is never followed.
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP})


def store_error(store: str, error: OSError) -> StoreError:
    """The store error that `error` amounts to. Its text carries no path: clients see it."""
    reason = os.strerror(error.errno) if error.errno else "input/output failed"
    if error.errno in _FULL:
        return StoreFull(store, reason)
    if error.errno in _DENIED:
        return StoreDenied(store, reason)
    return StoreUnavailable(store, reason)


@contextmanager
def as_store_errors(store: str) -> Iterator[None]:
    """Raise every OSError of the body as the StoreError that it amounts to."""
    try:
        yield
    except OSError as error:
        raise store_error(store, error) from error
