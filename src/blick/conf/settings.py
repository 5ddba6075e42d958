"""What the rest of Blick knows of its configuration: frozen, typed, checked once at start.

Field names are the options' names (spec: config), with a unit where the option has one and its name does not say it.
How files, environment and defaults become these records is the business of `blick.conf.load`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from blick.model.uri_filter import UriFilter


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The listening socket and its limits."""

    bind_host: str = "0.0.0.0"  # noqa: S104 - the field's default; identity decides what may listen there
    bind_port: int = 9292
    workers: int = 1
    backlog: int = 4096
    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    max_header_line: int = 16384
    http_keepalive: bool = True
    client_socket_timeout_s: int = 900
    insecure: bool = False
    grace_s: int = 30  # for what runs when the service is told to stop


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The shape of the Images API."""

    public_endpoint: str | None = None
    allow_anonymous_access: bool = False
    max_request_id_length: int = 64
    limit_param_default: int = 25
    api_limit_max: int = 1000
    show_image_direct_url: bool = False
    show_multiple_locations: bool = False
    hashing_algorithm: str = "sha512"
    enable_proxy_headers_parsing: bool = False
    image_cache_dir: Path | None = None
    enabled_import_methods: tuple[str, ...] = ("glance-direct", "web-download", "copy-image")
    schema_image_file: Path | None = None
    delayed_delete: bool = False
    json_body_max_bytes: int = 1 << 20
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """Limits per image and per project. A negative count means no limit, no user storage quota is 0.

    `oslo_limit` holds the options for asking Keystone, a secret among them; none unless its limits are used.
    """

    image_member_quota: int = 128
    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_location_quota: int = 10
    image_size_cap_bytes: int = 1 << 40
    user_storage_quota_bytes: int = 0
    use_keystone_limits: bool = False
    oslo_limit: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How data comes in from elsewhere, and the tasks that do that."""

    uri_filter: UriFilter = field(default_factory=UriFilter)
    do_secure_hash: bool = True
    http_retries: int = 3
    task_time_to_live_h: int = 48
    max_workers: int = 10
    # The base URL by which other nodes reach this one; empty: there is only one, or all share their disks.
    node_url: str = ""
    # The folder of staged data, and the id of a store that takes its place; the folder for scratch.
    staging_dir: Path = Path("/tmp/staging")  # noqa: S108 - the field's default
    staging_store: str | None = None
    work_dir: Path | None = None
    staging_ttl_h: int = 48
    upload_ttl_h: int = 24
    plugins: tuple[str, ...] = ()
    max_parallel_stores: int = 1
    inject: Mapping[str, str] = field(default_factory=dict)
    inject_ignored_roles: frozenset[str] = frozenset({"admin"})
    convert_to: str = "raw"
    convert_memory_mib: int = 1024
    convert_cpu_time_s: int = 3600
    # What starts helpers; None: the Python that runs. A server that embeds Python may not be one.
    python_interpreter: Path | None = None
    decompress_ratio: int = 200
    legacy_convert_to: str | None = None
    download_properties: tuple[str, ...] = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How much work in the background goes on at once. `limits` are by kind, for the whole deployment."""

    in_api: bool = True
    per_project: int = 4
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How servers are reached that users name. `retries`: in a row, without a byte in between.

    `proxies` are by scheme, and may hold passwords.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    insecure: bool = False
    retries: int = 4


@dataclass(frozen=True, slots=True)
class ScrubSettings:
    """When the data of images goes whose deletion was delayed, and what one scrubber does.

    `restore` is the id of an image to take back instead.
    """

    scrub_time_s: int = 0
    pool_size: int = 1
    wakeup_time_s: int = 300
    daemon: bool = False
    restore: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """What glance-replicator shows to the service that it reads from, and to the one that it writes to."""

    source_token: str | None = field(default=None, repr=False)
    target_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ImageFormatSettings:
    """Which formats there are and how strictly content is checked against them."""

    container_formats: tuple[str, ...] = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
    disk_formats: tuple[str, ...] = (
        "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
    )  # fmt: skip
    vmdk_allowed_types: tuple[str, ...] = ("streamOptimized", "monolithicSparse")
    require_image_format_match: bool = True
    gpt_safety_checks_nonfatal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the records live. `connection` is a SQLAlchemy URL and a secret.

    `location_key` (16, 24 or 32 bytes) encrypts where images' data lies; None: it is written plainly.
    `max_retries` and `retry_interval_s` are for the start; negative: for ever. The `db_` ones are for running
    transactions whose connection was lost, where `use_db_reconnect`.
    Commands load metadata definitions into it from `metadata_source_path`; None: those that come with Blick.
    """

    connection: str = "sqlite://"
    sqlite_synchronous: bool = True
    mysql_sql_mode: str = "TRADITIONAL"
    mysql_wsrep_sync_wait: int | None = None
    connection_recycle_time_s: int = 3600
    max_pool_size: int = 5
    max_overflow: int = 50
    pool_timeout_s: int | None = None
    max_retries: int = 10
    retry_interval_s: int = 10
    location_key: bytes | None = field(default=None, repr=False)
    use_db_reconnect: bool = False
    db_max_retries: int = 20
    db_retry_interval_s: int = 1
    db_inc_retry_interval: bool = True
    db_max_retry_interval_s: int = 10
    connection_debug: int = 0
    metadata_source_path: Path | None = None


@dataclass(frozen=True, slots=True)
class RemoteCheckSettings:
    """How rules ask remote servers (`http://…`, `https://…`)."""

    content_type: str = "application/x-www-form-urlencoded"
    timeout_s: float = 60.0
    verify_server: bool = False
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """oslo.policy's inputs."""

    policy_file: Path = Path("policy.yaml")
    policy_dirs: tuple[Path, ...] = (Path("policy.d"),)
    policy_default_rule: str = "default"
    enforce_new_defaults: bool = True
    property_protection_file: Path | None = None
    property_protection_rule_format: Literal["roles", "policies"] = "roles"
    remote: RemoteCheckSettings = RemoteCheckSettings()


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One store. `options` holds the driver's own options by name, already typed; the driver reads them."""

    id: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None
    weight: int = 0


@dataclass(frozen=True, slots=True)
class StoresSettings:
    """All stores. `multi_store` is true where the operator named them with enabled_backends."""

    default_store: str
    stores: tuple[StoreSettings, ...]
    multi_store: bool = False


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Who vouches for callers. `kind` is what [paste_deploy] flavor chose; standalone when nothing is configured.

    `trusted_proxies` are those whose headers count with trusted-headers; none means this machine only.
    """

    kind: Literal["standalone", "none", "keystone", "trusted-headers"] = "standalone"
    token_ttl_s: int = 3600
    keystone_authtoken: Mapping[str, Any] = field(default_factory=dict)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Who may ask how the service is, and which files decide about the answer.

    `disable_by_files` go with a port, or with every port (None). No `allowed_source_ranges` means everybody.
    """

    detailed: bool = False
    allowed_source_ranges: tuple[IPv4Network | IPv6Network, ...] = ()
    ignore_proxied_requests: bool = False
    disable_by_files: tuple[tuple[int | None, Path], ...] = ()
    enable_by_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class CorsSettings:
    """Cross-origin access; off while `allowed_origin` is empty."""

    allowed_origin: tuple[str, ...] = ()
    allow_credentials: bool = True
    expose_headers: tuple[str, ...] = ()
    max_age_s: int = 3600
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where log lines go and what they look like. An empty format is the built-in one."""

    debug: bool = False
    use_stderr: bool = False
    log_file: Path | None = None
    log_dir: Path | None = None
    log_date_format: str = "%Y-%m-%d %H:%M:%S"
    log_config_append: Path | None = None
    use_syslog: bool = False
    use_journal: bool = False
    use_json: bool = False
    syslog_log_facility: str = "LOG_USER"
    default_log_levels: tuple[str, ...] = ()
    context_format: str = ""
    default_format: str = ""
    debug_format_suffix: str = ""
    exception_prefix: str = ""
    user_identity_format: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. Handed down from `boot`; nobody reads options from anywhere else."""

    stores: StoresSettings
    server: ServerSettings = field(default_factory=ServerSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    quotas: QuotaSettings = field(default_factory=QuotaSettings)
    imports: ImportSettings = field(default_factory=ImportSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    scrub: ScrubSettings = field(default_factory=ScrubSettings)
    replication: ReplicationSettings = field(default_factory=ReplicationSettings)
    image_format: ImageFormatSettings = field(default_factory=ImageFormatSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    cors: CorsSettings = field(default_factory=CorsSettings)
    log: LogSettings = field(default_factory=LogSettings)
