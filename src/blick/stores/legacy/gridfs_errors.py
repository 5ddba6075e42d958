"""What MongoDB says, in the words of the store contract."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from blick.model.errors import DataExists, StoreDenied, StoreError, StoreFull, StoreUnavailable

# Codes of MongoDB's error_codes.yml: Unauthorized, AuthenticationFailed, and Atlas's own for the latter.
_DENIED = frozenset({13, 18, 8000})
_OUT_OF_DISK_SPACE = 14031


@contextmanager
def as_store_errors(store: str) -> Iterator[None]:
    """Raise every error of the driver as the StoreError that it amounts to. Its text names no server and no account."""
    try:
        yield
    except PyMongoError as error:
        raise _store_error(store, error) from error


def _store_error(store: str, error: PyMongoError) -> StoreError:
    if isinstance(error, DuplicateKeyError):
        return DataExists(store)
    if isinstance(error, ConnectionFailure | WTimeoutError | ExecutionTimeout):
        return StoreUnavailable(store, "MongoDB does not answer")
    if isinstance(error, OperationFailure) and error.code in _DENIED:
        return StoreDenied(store, "MongoDB refuses our credentials")
    if isinstance(error, OperationFailure) and error.code == _OUT_OF_DISK_SPACE:
        return StoreFull(store)
    return StoreError(store, "MongoDB failed")
