"""Options of the cinder store, checked, and the URIs that name volumes."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blick.model.errors import StartRefused

_log = logging.getLogger(__name__)

GIB = 1 << 30
_VOLUME_ID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_URI = re.compile(rf"cinder://(?:([^/?#]+)/)?({_VOLUME_ID})/?")


@dataclass(frozen=True, slots=True)
class Account:
    """Who owns the volumes: a user with a project, or an application credential."""

    auth_url: str
    user_name: str = ""
    password: str = field(default="", repr=False)
    project_name: str = ""
    user_domain_name: str = ""
    project_domain_name: str = ""
    credential_id: str = ""
    credential_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CinderOptions:
    """`account` None: the volumes are the callers'. `uri_names_store`: there are several stores, and they have ids.

    `ceph_conf` None: volumes are attached by os-brick; else they are on Ceph, and reached through librbd.
    """

    account: Account | None
    service_type: str
    service_name: str | None
    interface: str
    endpoint_template: str | None
    region: str | None
    ca_file: str | None
    verify: bool
    http_retries: int
    state_timeout_s: int
    volume_type: str | None
    use_multipath: bool
    enforce_multipath: bool
    mount_base: str
    extend_attached: bool
    attach_attempts: int
    ceph_conf: str | None
    root_helper: str
    uri_names_store: bool


def read_options(store: str, options: Mapping[str, Any]) -> CinderOptions:
    """The options of a store. Raises StartRefused naming the one that makes no sense."""
    catalog = str(options.get("cinder_catalog_info") or "volumev3::publicURL").split(":")
    if len(catalog) != 3 or not catalog[0] or not catalog[2]:
        raise StartRefused(f"Store {store}: cinder_catalog_info wants service_type:service_name:interface.")
    ceph_conf = options.get("cinder_ceph_conf") or None
    if ceph_conf is not None and not Path(ceph_conf).is_file():
        raise StartRefused(f"Store {store}: cinder_ceph_conf: there is no file {ceph_conf}.")
    return CinderOptions(
        account=_account(store, options),
        service_type=catalog[0],
        service_name=catalog[1] or None,
        interface=catalog[2].removesuffix("URL"),
        endpoint_template=options.get("cinder_endpoint_template") or None,
        region=options.get("cinder_os_region_name") or None,
        ca_file=options.get("cinder_ca_certificates_file") or None,
        verify=not options.get("cinder_api_insecure", False),
        http_retries=int(options.get("cinder_http_retries", 3)),
        state_timeout_s=int(options.get("cinder_state_transition_timeout", 300)),
        volume_type=options.get("cinder_volume_type") or None,
        use_multipath=bool(options.get("cinder_use_multipath", False)),
        enforce_multipath=bool(options.get("cinder_enforce_multipath", False)),
        mount_base=str(options.get("cinder_mount_point_base") or "/var/lib/glance/mnt"),
        extend_attached=bool(options.get("cinder_do_extend_attached", False)),
        attach_attempts=int(options.get("cinder_attachment_retry_attempts", 5)),
        ceph_conf=ceph_conf,
        root_helper=str(options.get("cinder_root_helper", "sudo") or ""),
        uri_names_store=bool(options.get("uri_names_store", False)),
    )


def _account(store: str, options: Mapping[str, Any]) -> Account | None:
    def said(name: str) -> str:
        return str(options.get(f"cinder_store_{name}") or "")

    auth_url = said("auth_address")
    credential = said("application_credential_id"), said("application_credential_secret")
    password = said("user_name"), said("password"), said("project_name")
    if auth_url and all(credential):
        return Account(auth_url, credential_id=credential[0], credential_secret=credential[1])
    if auth_url and all(password):
        domains = said("user_domain_name") or "Default", said("project_domain_name") or "Default"
        return Account(auth_url, *password, *domains)
    if auth_url or any(credential) or any(password):
        _log.warning(
            "store %s: the account is incomplete (cinder_store_auth_address with user_name, password and project_name, "
            "or with an application credential): volumes are kept in the projects of those who call",
            store,
        )
    return None


def volume_of(uri: str) -> tuple[str | None, str] | None:
    """The store that a URI names, if it does, and the volume; None for what is no volume's URI."""
    found = _URI.fullmatch(uri)
    return (found[1], found[2].lower()) if found else None


def size_gib(size_bytes: int) -> int:
    """How large a volume has to be for so many bytes."""
    return max(1, -(-size_bytes // GIB))
