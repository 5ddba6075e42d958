"""Options that once existed. A deployment's file must not fail on them.

Those that Blick honours are ordinary options again (`options/server.py`) or old names of others, and do not stand here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Action = Literal["ignore", "warn", "warn-when-false", "refuse-when-false"]
_FALSE = ("false", "0", "off", "no")


@dataclass(frozen=True, slots=True)
class Retired:
    """What became of an option: `removed` names the release, `advice` what to do or why nothing is lost."""

    action: Action
    removed: str
    advice: str = ""

    def counts(self, value: str) -> bool:
        """Is there anything to say when it is set to `value`?"""
        if self.action in ("warn-when-false", "refuse-when-false"):
            return value.strip().lower() in _FALSE
        return self.action != "ignore"

    @property
    def text(self) -> str:
        """One sentence for the operator."""
        return f"was removed in {self.removed}" + (f"; {self.advice}" if self.advice else "") + "."


_MOVED_TO_STORE = "the group [glance_store], or the one named like the store, is its place now"

_TABLE: tuple[tuple[str, str, Retired], ...] = (
    (
        "DEFAULT",
        "owner_is_tenant",
        Retired(
            "refuse-when-false", "Wallaby", "images belong to projects, a database of users as owners needs moving"
        ),
    ),
    ("DEFAULT", "enforce_secure_rbac", Retired("warn", "Antelope (2023.1)", "it is always on")),
    ("DEFAULT", "admin_role allow_additional_image_properties", Retired("ignore", "Wallaby and Zed")),
    ("DEFAULT", "location_strategy", Retired("warn", "2025.2 or later", "stores have a weight instead")),
    (
        "DEFAULT",
        "enable_v1_api enable_v2_api enable_v1_registry enable_v2_registry enable_image_import",
        Retired("ignore", "Queens to Train"),
    ),
    (
        "DEFAULT",
        "data_api registry_host registry_port registry_client_protocol registry_client_key_file "
        "registry_client_cert_file registry_client_ca_file registry_client_insecure registry_client_timeout "
        "send_identity_headers use_user_token admin_user admin_password admin_tenant_name auth_url auth_strategy "
        "auth_region",
        Retired("warn", "Queens to Ussuri", "it belonged to the registry, which is gone"),
    ),
    (
        "DEFAULT",
        "secure_proxy_ssl_header",
        Retired("warn", "Train", "use enable_proxy_headers_parsing in [oslo_middleware]"),
    ),
    ("DEFAULT", "cache_prefetcher_interval", Retired("warn", "2023.2", "queued images are cached at once")),
    ("DEFAULT", "cleanup_scrubber cleanup_scrubber_time scrubber_datadir", Retired("ignore", "Kilo to Newton")),
    (
        "DEFAULT",
        "default_store known_stores filesystem_store_datadir swift_store_auth_address rbd_store_pool s3_store_host "
        "sheepdog_store_address mongodb_store_uri",
        Retired("warn", "Juno and Kilo", _MOVED_TO_STORE),
    ),
    (
        "DEFAULT",
        "sql_connection sql_idle_timeout sql_max_retries sql_retry_interval",
        Retired("warn", "Havana and Icehouse", "the group [database] is its place now"),
    ),
    (
        "DEFAULT",
        "notification_driver notification_topics notifier_strategy",
        Retired("warn", "Mitaka to Stein", "the group [oslo_messaging_notifications] is its place now"),
    ),
    (
        "DEFAULT",
        "rpc_backend rabbit_host rabbit_port rabbit_userid rabbit_password rabbit_virtual_host "
        "rabbit_notification_exchange rabbit_notification_topic",
        Retired("warn", "Mitaka to Stein", "use transport_url"),
    ),
    ("DEFAULT", "verbose log_format use_syslog_rfc_format", Retired("ignore", "Ocata and before")),
    ("DEFAULT", "image_cache_invalid_entry_grace_period", Retired("ignore", "Folsom to Havana")),
    (
        "store_type_location_strategy",
        "store_type_preference",
        Retired("warn", "2025.2 or later", "stores have a weight instead"),
    ),
    (
        "task",
        "eventlet_executor_pool_size",
        Retired("warn", "33.0.0", "use max_workers in [taskflow_executor]"),
    ),
    ("glance_store", "store_capabilities_update_min_interval", Retired("warn", "Mitaka to Ussuri")),
    (
        "glance_store",
        "s3_store_object_buffer_dir s3_store_enable_proxy s3_store_proxy_host s3_store_proxy_port s3_store_proxy_user "
        "s3_store_proxy_password",
        Retired("warn", "Newton", "it belonged to the first s3 driver"),
    ),
    ("oslo_policy", "enforce_scope", Retired("warn-when-false", "oslo.policy 6.0.0", "scope is always enforced")),
    (
        "database",
        "idle_timeout min_pool_size sql_connection use_tpool mysql_enable_ndb sqlite_db thread_checkin",
        Retired("ignore", "oslo.db 5 to 16"),
    ),
    (
        "keystone_authtoken",
        "identity_uri auth_host auth_port auth_protocol auth_admin_prefix admin_token admin_user admin_password "
        "admin_tenant_name",
        Retired("warn", "Ocata to Rocky", "use auth_type, auth_url, username and so on"),
    ),
    (
        "keystone_authtoken",
        "check_revocations_for_cached hash_algorithms signing_dir revocation_cache_time",
        Retired("warn", "Ocata to Rocky"),
    ),
    (
        "oslo_messaging_rabbit",
        "rabbit_host rabbit_hosts rabbit_port rabbit_userid rabbit_password rabbit_virtual_host",
        Retired("warn", "oslo.messaging 5 to 18", "use transport_url"),
    ),
    (
        "oslo_messaging_rabbit",
        "rabbit_use_ssl kombu_ssl_version kombu_ssl_keyfile kombu_ssl_certfile kombu_ssl_ca_certs",
        Retired("warn", "oslo.messaging 5 to 18", "use ssl, ssl_key_file and so on"),
    ),
    (
        "oslo_messaging_rabbit",
        "rabbit_max_retries fake_rabbit heartbeat_in_pthread",
        Retired("warn", "oslo.messaging 5 to 18"),
    ),
)

RETIRED: Mapping[tuple[str, str], Retired] = {
    (group, name): retired for group, names, retired in _TABLE for name in names.split()
}

# Whole groups that are passed over in silence.
RETIRED_GROUPS = frozenset({"matchmaker_redis", "oslo_messaging_amqp", "oslo_messaging_zmq"})

# Values that an option took once: it counts as unset then.
RETIRED_VALUES: Mapping[tuple[str, str, str], Retired] = {
    ("task", "task_executor", "eventlet"): Retired("warn", "33.0.0", "there is only one executor"),
}
