"""Limits per image and per project, and unified limits from Keystone."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("image_member_quota", "int", 128, "Most members per image; negative = no limit"),
    Option("image_property_quota", "int", 128, "Most custom properties per image; negative = no limit"),
    Option("image_tag_quota", "int", 128, "Most tags per image; negative = no limit"),
    Option("image_location_quota", "int", 10, "Most locations per image; negative = no limit"),
    Option(
        "image_size_cap", "int", 1099511627776, "Largest image accepted, bytes", minimum=1, maximum=9223372036854775808
    ),
    Option("user_storage_quota", "str", "0", "Storage limit per project: number with unit B/KB/MB/GB/TB, 0 = off"),
    Option("use_keystone_limits", "bool", False, "Enforce unified limits from Keystone"),
)

_OSLO_LIMIT = (
    Option("endpoint_id", "str", None, "Own endpoint id for limit lookups"),
    Option("endpoint_service_name", "str", None, "Own service name when endpoint_id is unset"),
    Option("endpoint_service_type", "str", None, "Own service type when endpoint_id is unset"),
    Option("endpoint_region_name", "str", None, "Own region when endpoint_id is unset"),
    Option(
        "endpoint_interface",
        "str",
        "public",
        "Own interface when endpoint_id is unset",
        choices=("public", "publicURL", "internal", "internalURL", "admin", "adminURL"),
    ),
    Option("cafile", "str", None, "CA bundle"),
    Option("certfile", "str", None, "Client certificate"),
    Option("keyfile", "str", None, "Client key"),
    Option("insecure", "bool", False, "Skip TLS verification"),
    Option("timeout", "float", None, "Request timeout, seconds"),
    Option("collect_timing", "bool", False, "Per-call timing records", keep="no"),
    Option("split_loggers", "bool", False, "Several HTTP loggers", keep="no"),
    Option("tls_ciphers", "str", None, "TLS cipher string"),
    Option("tls_min_version", "str", None, "Lowest TLS version", choices=("1.2", "1.3")),
    Option("auth_type", "str", None, "Auth plugin: password, v3applicationcredential ...", old_names=("auth_plugin",)),
    Option("auth_section", "str", None, "Group holding the plugin options"),
    Option("auth_url", "str", None, "Identity URL"),
    Option("system_scope", "str", None, "`all` for a system-scoped token"),
    Option("domain_id", "str", None, "Domain to scope to"),
    Option("domain_name", "str", None, "Domain to scope to"),
    Option("project_id", "str", None, "Project id to scope to"),
    Option("project_name", "str", None, "Project to scope to"),
    Option("project_domain_id", "str", None, "Domain id of the project"),
    Option("project_domain_name", "str", None, "Domain of the project"),
    Option("trust_id", "str", None, "Trust to use"),
    Option("default_domain_id", "str", None, "Default user and project domain id"),
    Option("default_domain_name", "str", None, "Default user and project domain"),
    Option("user_id", "str", None, "User id"),
    Option("username", "str", None, "User name", old_names=("user_name",)),
    Option("user_domain_id", "str", None, "Domain id of the user"),
    Option("user_domain_name", "str", None, "Domain of the user"),
    Option("password", "str", None, "Password", secret=True),
    Option("application_credential_id", "str", None, "Application credential id"),
    Option("application_credential_name", "str", None, "Application credential name"),
    Option("application_credential_secret", "str", None, "Application credential secret", secret=True),
    Option("tenant_id", "str", None, "Old name of project-id", keep="no"),
    Option("tenant_name", "str", None, "Old name of project-name", keep="no"),
    Option("service_type", "str", None, "Default service type of endpoint discovery"),
    Option("service_name", "str", None, "Default service name of endpoint discovery"),
    Option("valid_interfaces", "list", None, "Interfaces in order of preference"),
    Option("region_name", "str", None, "Region of endpoint discovery"),
    Option("endpoint_override", "str", None, "Fixed endpoint URL"),
    Option("version", "str", None, "API version wanted"),
    Option("min_version", "str", None, "Lowest API version"),
    Option("max_version", "str", None, "Highest API version"),
    Option("connect_retries", "int", None, "Connection retries"),
    Option("connect_retry_delay", "float", None, "Seconds between them"),
    Option("status_code_retries", "int", None, "Retries on retriable statuses"),
    Option("status_code_retry_delay", "float", None, "Seconds between them"),
    Option("retriable_status_codes", "list", None, "Statuses that are retried"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
    "oslo_limit": _OSLO_LIMIT,
}
