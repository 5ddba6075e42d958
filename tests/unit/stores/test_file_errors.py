"""The operating system's errors, as store errors."""

import errno

import pytest

from blick.model.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable
from blick.stores.file.errors import as_store_errors, store_error


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.ELOOP, StoreDenied),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (None, StoreUnavailable),
    ],
)
def test_each_number_has_its_error(number: int | None, kind: type[StoreError]) -> None:
    error = OSError() if number is None else OSError(number, "text", "/secret/path")
    translated = store_error("s", error)
    assert type(translated) is kind
    assert translated.store == "s"
    assert "secret" not in str(translated)


def test_store_errors_pass_unchanged() -> None:
    with pytest.raises(StoreFull) as raised, as_store_errors("s"):
        raise StoreFull("inner")
    assert raised.value.store == "inner"
