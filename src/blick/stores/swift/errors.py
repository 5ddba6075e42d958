"""What Swift's answers mean for a store."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

from blick.model.errors import DataExists, DataNotFound, RangeInvalid, StoreError, StoreFull, StoreUnavailable

Refusal = type[StoreError]
"""The error for refused credentials: StoreDenied or CallerRefused."""

FULL = (413, 507)


def error_of(store: str, status: int, what: str, refused: Refusal) -> StoreError:
    """The error that an answer of this status is. `what` was asked for, for humans; it names no secret."""
    if status in (401, 403):
        return refused(store, f"Swift refuses the credentials for {what} ({status})")
    if status in (404, 410):
        return DataNotFound(store)
    if status in (409, 412):
        return DataExists(store)
    if status in FULL:
        return StoreFull(store, f"Swift has no room, or the quota is used up ({status})")
    if status == 416:
        return RangeInvalid(store)
    if status in (408, 429, 498, 499) or status >= 500:
        return StoreUnavailable(store, f"Swift cannot {what} now ({status})")
    return StoreError(store, f"Swift does not {what} ({status})")


@contextmanager
def as_unavailable(store: str) -> Iterator[None]:
    """Trouble with the connection, as StoreUnavailable. Its text tells no address: a location may hold a key."""
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailable(store, "Swift does not answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        raise StoreUnavailable(store, f"the connection to Swift failed: {said}") from error
