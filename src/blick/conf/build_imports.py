"""How data comes in from elsewhere: import methods, plugins, staging, tasks, jobs, and where it is fetched from."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from blick.conf.catalog import RESERVED_STORES
from blick.conf.reading import Reading
from blick.conf.settings import FetchSettings, ImportSettings, JobSettings
from blick.model.uri_filter import USUAL_PORTS, UriFilter

_STAGING, _TASKS = RESERVED_STORES
_FOLDER = "filesystem_store_datadir"
# One takes no data; the other keeps it in volumes, which are made for long.
_NOT_FOR_STAGING = ("http", "cinder")


def import_settings(reading: Reading) -> ImportSettings:
    """The settings of imports and their tasks. After the stores' settings: the reserved stores are known then."""

    def get(group: str, name: str) -> Any:
        return reading.get(group, name)

    return ImportSettings(
        uri_filter=uri_filter(reading),
        do_secure_hash=get("DEFAULT", "do_secure_hash"),
        http_retries=get("DEFAULT", "http_retries"),
        task_time_to_live_h=get("task", "task_time_to_live"),
        max_workers=get("taskflow_executor", "max_workers"),
        node_url=_node_url(reading),
        staging_dir=_staging_dir(reading),
        staging_store=_staging_store(reading),
        work_dir=_work_dir(reading),
        staging_ttl_h=get("blick", "staging_ttl"),
        upload_ttl_h=get("blick", "upload_ttl"),
        plugins=_plugins(reading),
        max_parallel_stores=get("image_import_opts", "max_parallel_stores"),
        inject=get("inject_metadata_properties", "inject"),
        inject_ignored_roles=frozenset(role.lower() for role in get("inject_metadata_properties", "ignore_user_roles")),
        convert_to=get("image_conversion", "output_format"),
        convert_memory_mib=get("blick", "convert_memory"),
        convert_cpu_time_s=get("blick", "convert_cpu_time"),
        python_interpreter=_python_interpreter(reading),
        decompress_ratio=get("blick", "decompress_ratio"),
        legacy_convert_to=get("taskflow_executor", "conversion_format"),
        download_properties=get("glance_download_properties", "extra_properties"),
    )


def job_settings(reading: Reading) -> JobSettings:
    """How much work in the background goes on at once."""
    limits = {}
    for kind, text in reading.get("blick", "job_limits").items():
        if not text.isascii() or not text.isdecimal() or int(text) < 1:
            reading.wrong("blick", "job_limits", f"{kind}:{text} is not a kind with a number of at least 1.")
            continue
        limits[kind] = int(text)
    return JobSettings(reading.get("blick", "jobs_in_api"), reading.get("blick", "jobs_per_project"), limits)


def fetch_settings(reading: Reading) -> FetchSettings:
    """How servers are reached that users name."""
    ca_file = reading.text("blick", "fetch_ca_file")
    proxies = reading.get("blick", "fetch_proxies")
    for scheme, proxy in proxies.items():
        if scheme not in USUAL_PORTS or not _is_proxy(proxy):
            # The text is not repeated: it may hold a password.
            reading.wrong("blick", "fetch_proxies", f"{scheme}: is not http or https with the host:port of a proxy.")
    return FetchSettings(
        proxies=proxies,
        ca_file=Path(ca_file) if ca_file else None,
        insecure=reading.get("blick", "fetch_insecure"),
        retries=reading.get("blick", "fetch_retries"),
    )


def _plugins(reading: Reading) -> tuple[str, ...]:
    """Names, which operators' files have with and without brackets around the list and quotes around each."""
    names = (name.strip("[]'\" ") for name in reading.get("image_import_opts", "image_import_plugins"))
    return tuple(name for name in names if name)


def _python_interpreter(reading: Reading) -> Path | None:
    path = reading.text("wsgi", "python_interpreter")
    return Path(path) if path else None


def _is_proxy(text: str) -> bool:
    """`host:port`, or a URL of the scheme http with perhaps user and password in it?"""
    try:
        where = urlsplit(text if "//" in text else f"//{text}")
        return where.scheme in ("", "http") and bool(where.hostname) and where.port != 0
    except ValueError:
        return False


def _node_url(reading: Reading) -> str:
    url = reading.text("DEFAULT", "worker_self_reference_url") or reading.text("DEFAULT", "public_endpoint") or ""
    return url.rstrip("/")


def _staging_dir(reading: Reading) -> Path:
    """The reserved store's folder where there are several stores, else that of node_staging_uri."""
    if reading.get("DEFAULT", "enabled_backends"):
        return Path(reading.get(_STAGING, _FOLDER))
    uri = urlsplit(reading.get("DEFAULT", "node_staging_uri"))
    if uri.scheme != "file" or not uri.path.startswith("/") or uri.netloc not in ("", "localhost"):
        reading.wrong("DEFAULT", "node_staging_uri", "must be a file:// URI with an absolute path.")
        return Path("/tmp/staging")  # noqa: S108 - the settings are not used
    return Path(unquote(uri.path))


def _staging_store(reading: Reading) -> str | None:
    store = reading.text("blick", "staging_store")
    backends = reading.get("DEFAULT", "enabled_backends") or {}
    if store is not None and store not in backends:
        reading.wrong("blick", "staging_store", f"{store} is not one of enabled_backends.")
        return None
    if store is not None and backends[store] in _NOT_FOR_STAGING:
        reading.wrong("blick", "staging_store", f"{store} is of type {backends[store]}: data cannot wait there.")
        return None
    if store is not None and backends[store] == "swift" and reading.get(store, "swift_store_multi_tenant"):
        told = "has swift_store_multi_tenant: data cannot wait in the accounts of users."
        reading.wrong("blick", "staging_store", f"{store} {told}")
        return None
    return store


def _work_dir(reading: Reading) -> Path | None:
    if reading.get("DEFAULT", "enabled_backends"):
        return Path(reading.get(_TASKS, _FOLDER))
    folder = reading.text("task", "work_dir")
    return Path(folder) if folder else None


def uri_filter(reading: Reading) -> UriFilter:
    """What [import_filtering_opts] says, and which private networks may be reached beside it."""

    def get(name: str) -> tuple[Any, ...]:
        return tuple(reading.get("import_filtering_opts", name) or ())

    return UriFilter(
        allowed_schemes=tuple(scheme.lower() for scheme in get("allowed_schemes")),
        disallowed_schemes=tuple(scheme.lower() for scheme in get("disallowed_schemes")),
        allowed_hosts=get("allowed_hosts"),
        disallowed_hosts=get("disallowed_hosts"),
        allowed_ports=get("allowed_ports"),
        disallowed_ports=get("disallowed_ports"),
        allowed_networks=reading.networks("blick", "fetch_networks"),
    )
