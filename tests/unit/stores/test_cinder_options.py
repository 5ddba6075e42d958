"""Options of the cinder store, and the URIs of volumes."""

from pathlib import Path
from typing import Any

import pytest

from blick.model.errors import StartRefused
from blick.stores.cinder.options import GIB, read_options, size_gib, volume_of

VOLUME = "0a1b2c3d-1111-4222-8333-444455556666"
PASSWORD: dict[str, Any] = {
    "cinder_store_auth_address": "http://identity/v3",
    "cinder_store_user_name": "glance",
    "cinder_store_password": "s3cret",
    "cinder_store_project_name": "service",
}
CREDENTIAL: dict[str, Any] = {
    "cinder_store_auth_address": "http://identity/v3",
    "cinder_store_application_credential_id": "id",
    "cinder_store_application_credential_secret": "s3cret",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cinder_catalog_info": "volumev3"}, "cinder_catalog_info wants"),
        ({"cinder_catalog_info": "::publicURL"}, "cinder_catalog_info wants"),
        ({"cinder_catalog_info": "volumev3:name:"}, "cinder_catalog_info wants"),
        ({"cinder_ceph_conf": "/nowhere/ceph.conf"}, "cinder_ceph_conf: there is no file"),
    ],
)
def test_refused_options(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StartRefused, match=f"Store volumes: {said}"):
        read_options("volumes", PASSWORD | changes)


def test_a_fixed_account() -> None:
    account = read_options("volumes", PASSWORD).account
    assert account is not None
    assert (account.user_name, account.project_name, account.user_domain_name) == ("glance", "service", "Default")
    assert "s3cret" not in repr(read_options("volumes", PASSWORD))
    by_credential = read_options("volumes", CREDENTIAL).account
    assert by_credential is not None
    assert (by_credential.credential_id, by_credential.user_name) == ("id", "")
    assert "s3cret" not in repr(by_credential)


@pytest.mark.parametrize("name", [*PASSWORD, *CREDENTIAL])
def test_an_incomplete_account_is_none(name: str, caplog: pytest.LogCaptureFixture) -> None:
    given = PASSWORD if name in PASSWORD and name != "cinder_store_auth_address" else CREDENTIAL
    options = {option: value for option, value in given.items() if option != name}
    assert read_options("volumes", options).account is None
    assert "the account is incomplete" in caplog.text
    assert "s3cret" not in caplog.text


def test_no_account_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    assert read_options("volumes", {}).account is None
    assert caplog.text == ""


def test_defaults(tmp_path: Path) -> None:
    options = read_options("volumes", {})
    assert (options.service_type, options.service_name, options.interface) == ("volumev3", None, "public")
    assert options.verify
    assert options.ceph_conf is None
    (tmp_path / "ceph.conf").write_text("")
    named = {"cinder_catalog_info": "block-storage:cinder:internalURL", "cinder_ceph_conf": str(tmp_path / "ceph.conf")}
    options = read_options("volumes", named)
    assert (options.service_type, options.service_name, options.interface) == ("block-storage", "cinder", "internal")
    assert options.ceph_conf == str(tmp_path / "ceph.conf")


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        (f"cinder://{VOLUME}", (None, VOLUME)),
        (f"cinder://fast/{VOLUME}", ("fast", VOLUME)),
        (f"cinder://fast/{VOLUME.upper()}", ("fast", VOLUME)),
        ("cinder://", None),
        ("cinder://fast", None),
        (f"cinder://a/b/{VOLUME}", None),
        (f"cinder://{VOLUME}?x", None),
        (f"cinder://{VOLUME}x", None),
        (f"rbd://{VOLUME}", None),
    ],
)
def test_uris(uri: str, named: tuple[str | None, str] | None) -> None:
    assert volume_of(uri) == named


@pytest.mark.parametrize(
    ("size_bytes", "gib"), [(0, 1), (1, 1), (GIB, 1), (GIB + 1, 2), (10 * GIB, 10), (10 * GIB + 1, 11)]
)
def test_sizes(size_bytes: int, gib: int) -> None:
    assert size_gib(size_bytes) == gib
