"""From options to settings: what Blick makes of an operator's values, and what it refuses to start with.

A wrong value is noted with the reading, so that one look shows every mistake; then the settings must not be used.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blick.conf.build_health import health_settings
from blick.conf.build_identity import identity_settings
from blick.conf.build_imports import fetch_settings, import_settings, job_settings
from blick.conf.build_quota import quota_settings
from blick.conf.build_stores import stores_settings
from blick.conf.reading import Reading
from blick.conf.settings import (
    ApiSettings,
    CorsSettings,
    DatabaseSettings,
    ImageFormatSettings,
    LogSettings,
    PolicySettings,
    RemoteCheckSettings,
    ReplicationSettings,
    ScrubSettings,
    ServerSettings,
    Settings,
)
from blick.conf.sources import find_file

_MOST_WORKERS = 8
_AES_KEY_BYTES = (16, 24, 32)


def build(reading: Reading, folders: Sequence[Path]) -> Settings:
    """Settings from `reading`. `folders` are where files named by options may be, beside the configuration files."""
    finder = _Finder(reading, folders)
    return Settings(
        stores=stores_settings(reading),
        server=_server(reading),
        api=_api(reading, finder),
        imports=import_settings(reading),
        jobs=job_settings(reading),
        fetch=fetch_settings(reading),
        scrub=_scrub(reading),
        replication=_replication(reading),
        quotas=quota_settings(reading),
        image_format=_image_format(reading),
        database=_database(reading),
        policy=_policy(reading, finder),
        identity=identity_settings(reading, finder),
        health=health_settings(reading),
        cors=_cors(reading),
        log=log_settings(reading),
    )


class _Finder:
    """Finds the files that options name."""

    def __init__(self, reading: Reading, folders: Sequence[Path]) -> None:
        self._reading = reading
        self._folders = folders

    def __call__(self, name: str | Path) -> Path:
        return find_file(name, [file.path for file in self._reading.files], self._folders)

    def now_or_later(self, name: str | Path) -> Path:
        """Where it is, or where it is awaited: beside the last configuration file that is in no folder of parts."""
        found = self(name)
        beside = [file.path.parent for file in self._reading.files if not file.path.parent.name.endswith(".d")]
        return found if found.exists() or not beside else beside[-1].absolute() / found


def _server(reading: Reading) -> ServerSettings:
    def get(name: str) -> Any:
        return reading.get("DEFAULT", name)

    certificate, key = (_path(reading, "DEFAULT", name) for name in ("cert_file", "key_file"))
    if (certificate is None) != (key is None):
        missing, given = ("cert_file", "key_file") if certificate is None else ("key_file", "cert_file")
        reading.wrong("DEFAULT", missing, f"is needed together with {given}.")
    return ServerSettings(
        bind_host=get("bind_host"),
        bind_port=get("bind_port"),
        workers=_workers(get("workers")),
        backlog=get("backlog"),
        cert_file=certificate,
        key_file=key,
        ca_file=_path(reading, "DEFAULT", "ca_file"),
        max_header_line=get("max_header_line"),
        http_keepalive=get("http_keepalive"),
        client_socket_timeout_s=get("client_socket_timeout"),
        insecure=reading.get("blick", "insecure"),
    )


def _workers(wanted: int | None) -> int:
    if wanted is None:
        return min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
    return max(1, wanted)


def _api(reading: Reading, finder: "_Finder") -> ApiSettings:
    def get(name: str) -> Any:
        return reading.get("DEFAULT", name)

    schema_file = finder("schema-image.json")
    return ApiSettings(
        public_endpoint=reading.text("DEFAULT", "public_endpoint"),
        allow_anonymous_access=get("allow_anonymous_access"),
        max_request_id_length=get("max_request_id_length"),
        limit_param_default=get("limit_param_default"),
        api_limit_max=get("api_limit_max"),
        show_image_direct_url=get("show_image_direct_url"),
        show_multiple_locations=get("show_multiple_locations"),
        hashing_algorithm=_hashing_algorithm(reading),
        enable_proxy_headers_parsing=reading.get("oslo_middleware", "enable_proxy_headers_parsing"),
        image_cache_dir=_path(reading, "DEFAULT", "image_cache_dir"),
        enabled_import_methods=get("enabled_import_methods"),
        schema_image_file=schema_file if schema_file.is_absolute() else None,
        delayed_delete=get("delayed_delete"),
        json_body_max_bytes=reading.get("blick", "json_body_max_bytes"),
        gzip=reading.get("blick", "gzip"),
    )


def _hashing_algorithm(reading: Reading) -> str:
    name: str = reading.get("DEFAULT", "hashing_algorithm")
    # Algorithms of variable length (shake) have no one digest to compare.
    if name not in hashlib.algorithms_available or not hashlib.new(name, usedforsecurity=False).digest_size:
        reading.wrong("DEFAULT", "hashing_algorithm", f"{name} is not an algorithm that this Python's hashlib offers.")
    return name


def _scrub(reading: Reading) -> ScrubSettings:
    return ScrubSettings(
        scrub_time_s=reading.get("DEFAULT", "scrub_time"),
        pool_size=reading.get("DEFAULT", "scrub_pool_size"),
        wakeup_time_s=reading.get("DEFAULT", "wakeup_time"),
        daemon=reading.get("DEFAULT", "daemon"),
        restore=reading.text("DEFAULT", "restore"),
    )


def _replication(reading: Reading) -> ReplicationSettings:
    return ReplicationSettings(
        source_token=reading.text("DEFAULT", "sourcetoken"),
        target_token=reading.text("DEFAULT", "targettoken"),
    )


def _image_format(reading: Reading) -> ImageFormatSettings:
    return ImageFormatSettings(
        container_formats=reading.get("image_format", "container_formats"),
        disk_formats=reading.get("image_format", "disk_formats"),
        vmdk_allowed_types=reading.get("image_format", "vmdk_allowed_types"),
        require_image_format_match=reading.get("image_format", "require_image_format_match"),
        gpt_safety_checks_nonfatal=reading.get("image_format", "gpt_safety_checks_nonfatal"),
    )


def _database(reading: Reading) -> DatabaseSettings:
    def get(name: str) -> Any:
        return reading.get("database", name)

    # The one for an asynchronous driver names the same database; the driver is chosen by what is installed.
    connection = reading.text("database", "connection") or reading.text("database", "asyncio_connection")
    if connection is None:
        reading.wrong("database", "connection", "is not set; Blick needs to know its database.")
        connection = "sqlite://"
    if parameters := get("connection_parameters"):
        connection += ("&" if "?" in connection else "?") + parameters
    return DatabaseSettings(
        connection=connection,
        sqlite_synchronous=get("sqlite_synchronous"),
        mysql_sql_mode=get("mysql_sql_mode"),
        mysql_wsrep_sync_wait=get("mysql_wsrep_sync_wait"),
        connection_recycle_time_s=get("connection_recycle_time"),
        max_pool_size=get("max_pool_size"),
        max_overflow=get("max_overflow"),
        pool_timeout_s=get("pool_timeout"),
        max_retries=get("max_retries"),
        retry_interval_s=get("retry_interval"),
        location_key=_location_key(reading),
        use_db_reconnect=get("use_db_reconnect"),
        db_max_retries=get("db_max_retries"),
        db_retry_interval_s=get("db_retry_interval"),
        db_inc_retry_interval=get("db_inc_retry_interval"),
        db_max_retry_interval_s=get("db_max_retry_interval"),
        connection_debug=get("connection_debug"),
        metadata_source_path=_path(reading, "DEFAULT", "metadata_source_path"),
    )


def _location_key(reading: Reading) -> bytes | None:
    text = reading.text("DEFAULT", "metadata_encryption_key")
    if not text:
        return None
    key = text.encode()
    if len(key) not in _AES_KEY_BYTES:
        reading.wrong("DEFAULT", "metadata_encryption_key", f"has {len(key)} bytes; AES needs 16, 24 or 32.")
        return None
    return key


def _policy(reading: Reading, finder: "_Finder") -> PolicySettings:
    def path(name: str) -> Path | None:
        named = reading.text("oslo_policy", name)
        return Path(named) if named else None

    protections = reading.text("DEFAULT", "property_protection_file")
    return PolicySettings(
        policy_file=finder.now_or_later(reading.get("oslo_policy", "policy_file")),
        policy_dirs=tuple(finder.now_or_later(folder) for folder in reading.get("oslo_policy", "policy_dirs")),
        policy_default_rule=reading.get("oslo_policy", "policy_default_rule"),
        enforce_new_defaults=reading.get("oslo_policy", "enforce_new_defaults"),
        property_protection_file=finder(protections) if protections else None,
        property_protection_rule_format=reading.get("DEFAULT", "property_protection_rule_format"),
        remote=RemoteCheckSettings(
            content_type=reading.get("oslo_policy", "remote_content_type"),
            timeout_s=reading.get("oslo_policy", "remote_timeout"),
            verify_server=reading.get("oslo_policy", "remote_ssl_verify_server_crt"),
            ca_file=path("remote_ssl_ca_crt_file"),
            client_cert_file=path("remote_ssl_client_crt_file"),
            client_key_file=path("remote_ssl_client_key_file"),
        ),
    )


def _cors(reading: Reading) -> CorsSettings:
    return CorsSettings(
        allowed_origin=reading.get("cors", "allowed_origin") or (),
        allow_credentials=reading.get("cors", "allow_credentials"),
        expose_headers=reading.get("cors", "expose_headers"),
        max_age_s=reading.get("cors", "max_age"),
        allow_methods=reading.get("cors", "allow_methods"),
        allow_headers=reading.get("cors", "allow_headers"),
    )


def log_settings(reading: Reading) -> LogSettings:
    """The part of the settings that says where log lines go."""

    def get(name: str) -> Any:
        return reading.get("DEFAULT", name)

    if not all("=" in pair for pair in get("default_log_levels")):
        reading.wrong("DEFAULT", "default_log_levels", "needs pairs such as urllib3=WARN.")
    return LogSettings(
        debug=get("debug"),
        use_stderr=get("use_stderr"),
        log_file=_path(reading, "DEFAULT", "log_file"),
        log_dir=_path(reading, "DEFAULT", "log_dir"),
        log_date_format=get("log_date_format"),
        log_config_append=_path(reading, "DEFAULT", "log_config_append"),
        use_syslog=get("use_syslog"),
        use_journal=get("use_journal"),
        use_json=get("use_json"),
        syslog_log_facility=get("syslog_log_facility"),
        default_log_levels=get("default_log_levels"),
        context_format=get("logging_context_format_string"),
        default_format=get("logging_default_format_string"),
        debug_format_suffix=get("logging_debug_format_suffix"),
        exception_prefix=get("logging_exception_prefix"),
        user_identity_format=get("logging_user_identity_format"),
    )


def _path(reading: Reading, group: str, name: str) -> Path | None:
    text = reading.text(group, name)
    return Path(text).expanduser() if text else None
