"""What the options of a swift store say, checked and frozen; with the accounts of the accounts file."""

import configparser
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from blick.model.blob import ReadAccess
from blick.model.errors import StartRefused

_log = logging.getLogger(__name__)

MIB = 1 << 20
_DEFAULT_DOMAIN = "default"


@dataclass(frozen=True, slots=True)
class Account:
    """How to log in. Either user and key, or an application credential; `project` and `user` may be empty with those.

    `reference` is the account's section in the accounts file, None for one of the options or of a location.
    """

    auth_address: str
    user: str = ""
    key: str = field(default="", repr=False)
    project: str = ""
    reference: str | None = None
    application_credential_id: str = ""
    application_credential_secret: str = field(default="", repr=False)
    user_domain_id: str | None = _DEFAULT_DOMAIN
    user_domain_name: str | None = None
    project_domain_id: str | None = _DEFAULT_DOMAIN
    project_domain_name: str | None = None
    project_id: str | None = None
    version_1: bool = False
    """Swift's own log-in (tempauth and its like), without Keystone: only for who says so, or by the address."""

    @property
    def uses_keystone(self) -> bool:
        """Whether to log in with Keystone's v3; an address that ends in /v1.0 or /v1 is one of Swift's own log-in."""
        return not self.version_1 and urlsplit(self.auth_address).path.rstrip("/").rpartition("/")[2] not in (
            "v1",
            "v1.0",
        )

    @property
    def full_user(self) -> str:
        """PROJECT:USER, or just USER."""
        return f"{self.project}:{self.user}" if self.project else self.user

    @property
    def is_complete(self) -> bool:
        """Whether it is enough to log in."""
        credential = self.application_credential_id and self.application_credential_secret
        return bool(self.auth_address and (credential or (self.user and self.key)))


@dataclass(frozen=True, slots=True)
class SwiftOptions:
    """`accounts` are those of the accounts file, by reference; `account` is the one that writes, if there is any."""

    multi_tenant: bool
    account: Account | None
    accounts: Mapping[str, Account]
    container: str
    seed_digits: int
    creates_containers: bool
    large_object_bytes: int
    segment_bytes: int
    admin_projects: tuple[str, ...]
    region: str | None
    endpoint: str | None
    interface: str
    service_type: str
    ca_file: str | None
    insecure: bool
    read_retries: int
    renew_before_s: int
    use_trusts: bool
    buffer_folder: Path | None

    def container_access(self, access: ReadAccess) -> Mapping[str, str]:
        """The headers of an image's own container: those of `access` read, the admins' projects read and write."""
        if not self.multi_tenant:
            return {}
        readers = ["*"] if access.public else [*access.projects, *self.admin_projects]
        return {
            "X-Container-Read": ",".join(f"{project}:*" for project in readers),
            "X-Container-Write": ",".join(f"{project}:*" for project in self.admin_projects),
        }


def read_options(name: str, options: Mapping[str, Any]) -> SwiftOptions:
    """The options of the store `name`. Raises StartRefused, naming the option that makes no sense."""
    multi_tenant = bool(options.get("swift_store_multi_tenant"))
    accounts = _accounts_of_file(name, options.get("swift_store_config_file"))
    if multi_tenant and accounts:
        raise StartRefused(f"Store {name}: swift_store_multi_tenant and swift_store_config_file exclude each other.")
    return SwiftOptions(
        multi_tenant=multi_tenant,
        account=_writing_account(name, options, accounts, needed=not multi_tenant),
        accounts=accounts,
        container=_container(name, options.get("swift_store_container") or "glance"),
        seed_digits=0 if multi_tenant else int(options.get("swift_store_multiple_containers_seed") or 0),
        creates_containers=multi_tenant or bool(options.get("swift_store_create_container_on_put")),
        large_object_bytes=int(options.get("swift_store_large_object_size") or 5120) * MIB,
        segment_bytes=int(options.get("swift_store_large_object_chunk_size") or 200) * MIB,
        admin_projects=tuple(options.get("swift_store_admin_tenants") or ()),
        region=options.get("swift_store_region") or None,
        endpoint=(options.get("swift_store_endpoint") or "").rstrip("/") or None,
        interface=(options.get("swift_store_endpoint_type") or "publicURL").removesuffix("URL"),
        service_type=options.get("swift_store_service_type") or "object-store",
        ca_file=_ca_file(name, options.get("swift_store_cacert")),
        insecure=bool(options.get("swift_store_auth_insecure")),
        read_retries=int(options.get("swift_store_retry_get_count") or 0),
        renew_before_s=int(options.get("swift_store_expire_soon_interval", 60)),
        use_trusts=bool(options.get("swift_store_use_trusts", True)),
        buffer_folder=_buffer_folder(name, options),
    )


def split_user(full_user: str) -> tuple[str, str]:
    """PROJECT:USER as a pair; the project is empty where none is named."""
    project, colon, user = full_user.partition(":")
    return (project, user) if colon else ("", full_user)


def _writing_account(
    name: str, options: Mapping[str, Any], accounts: Mapping[str, Account], *, needed: bool
) -> Account | None:
    if accounts:
        reference = options.get("default_swift_reference") or "ref1"
        if reference not in accounts:
            raise StartRefused(
                f"Store {name}: default_swift_reference is {reference!r}, which is no section of the "
                f"swift_store_config_file (there is: {', '.join(accounts)})."
            )
        return accounts[reference]
    project, user = split_user(options.get("swift_store_user") or "")
    account = Account(
        auth_address=options.get("swift_store_auth_address") or "",
        user=user,
        key=options.get("swift_store_key") or "",
        project=project or options.get("swift_store_project_name") or "",
        project_id=options.get("swift_store_project_id") or None,
        application_credential_id=options.get("swift_store_application_credential_id") or "",
        application_credential_secret=options.get("swift_store_application_credential_secret") or "",
    )
    if not account.is_complete:
        if needed:
            raise StartRefused(
                f"Store {name}: give a swift_store_config_file, or swift_store_auth_address with swift_store_user and "
                "swift_store_key or with swift_store_application_credential_id and _secret."
            )
        return None
    _require_usable(name, "the swift_store options", account)
    return account


def _accounts_of_file(name: str, path: str | None) -> Mapping[str, Account]:
    if not path:
        return {}
    parser = configparser.RawConfigParser()
    try:
        with Path(path).open(encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise StartRefused(f"Store {name}: cannot read the swift_store_config_file {path}: {reason}") from error
    except configparser.Error as error:
        # The library's message quotes the line, which may hold a key.
        raise StartRefused(f"Store {name}: the swift_store_config_file {path} is no INI file.") from error
    return {section: _account_of_section(name, section, dict(parser[section])) for section in parser.sections()}


def _account_of_section(name: str, section: str, raw: Mapping[str, str]) -> Account:
    values = {key: value.strip().strip("\"'") for key, value in raw.items()}
    version = values.get("auth_version", "3").removeprefix("v").partition(".")[0]
    if version == "2":
        _log.warning("store %s: section %s says auth_version 2, which no Keystone has; using 3", name, section)
    project, user = split_user(values.get("user", ""))
    account = Account(
        auth_address=values.get("auth_address", ""),
        user=user,
        key=values.get("key", ""),
        project=project or values.get("project_name", ""),
        reference=section,
        application_credential_id=values.get("application_credential_id", ""),
        application_credential_secret=values.get("application_credential_secret", ""),
        user_domain_id=_domain_id(values, "user"),
        user_domain_name=values.get("user_domain_name") or None,
        project_domain_id=_domain_id(values, "project"),
        project_domain_name=values.get("project_domain_name") or None,
        project_id=values.get("project_id") or None,
        version_1=version == "1",
    )
    where = f"section {section} of the swift_store_config_file"
    if not account.is_complete:
        raise StartRefused(
            f"Store {name}: {where} needs auth_address, and user and key or an application_credential_id and _secret."
        )
    _require_usable(name, where, account)
    return account


def _domain_id(values: Mapping[str, str], whose: str) -> str | None:
    """A name takes the place of the id that would be there by default, not of one that was given."""
    named = values.get(f"{whose}_domain_name")
    return values.get(f"{whose}_domain_id") or (None if named else _DEFAULT_DOMAIN)


def _require_usable(name: str, where: str, account: Account) -> None:
    address = urlsplit(account.auth_address)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise StartRefused(f"Store {name}: the auth_address in {where} is no http or https URL.")
    password = not account.application_credential_id
    if account.uses_keystone and password and not (account.project or account.project_id):
        raise StartRefused(f"Store {name}: the user in {where} has to be PROJECT:USER for Keystone.")


def _container(name: str, container: str) -> str:
    if "/" in container or len(container.encode()) > 200:
        raise StartRefused(f"Store {name}: swift_store_container has a slash or is too long.")
    return container


def _ca_file(name: str, path: str | None) -> str | None:
    if path and not Path(path).exists():
        raise StartRefused(f"Store {name}: swift_store_cacert: there is no {path}.")
    return path or None


def _buffer_folder(name: str, options: Mapping[str, Any]) -> Path | None:
    if not options.get("swift_buffer_on_upload"):
        return None
    folder = options.get("swift_upload_buffer_dir")
    if not folder:
        raise StartRefused(f"Store {name}: swift_buffer_on_upload needs a swift_upload_buffer_dir.")
    if not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise StartRefused(f"Store {name}: swift_upload_buffer_dir: {folder} is no directory that can be written.")
    return Path(folder)
