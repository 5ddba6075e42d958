"""Who vouches for callers."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_PASTE_DEPLOY = (
    Option(
        "flavor",
        "str",
        None,
        "Who vouches for callers: keystone, trusted-headers, standalone, none; +caching, +cachemanagement",
    ),
    Option("config_file", "str", None, "Paste file; read only for its known pipelines"),
)

_KEYSTONE_AUTHTOKEN = (
    Option(
        "www_authenticate_uri",
        "str",
        None,
        "Public identity URL sent in WWW-Authenticate; fallback identity URL of proxies",
        old_names=("auth_uri",),
    ),
    Option("auth_version", "str", None, "Identity API version to force"),
    Option("interface", "str", "internal", "Catalog interface for identity calls"),
    Option("delay_auth_decision", "bool", False, "Pass unauthenticated requests on"),
    Option("http_connect_timeout", "int", None, "Identity connect timeout, seconds"),
    Option("http_request_max_retries", "int", 3, "Identity request retries"),
    Option("cache", "str", None, "Swift cache key in the request environment", keep="no"),
    Option("certfile", "str", None, "Client certificate"),
    Option("keyfile", "str", None, "Client key"),
    Option("cafile", "str", None, "CA bundle"),
    Option("insecure", "bool", False, "Skip TLS verification"),
    Option("region_name", "str", None, "Region for catalog lookup"),
    Option(
        "memcached_servers",
        "list",
        None,
        "Token cache servers; unset = in-process cache",
        old_names=("memcache_servers",),
    ),
    Option("token_cache_time", "int", 300, "Seconds a validated token is cached; -1 off"),
    Option(
        "memcache_security_strategy",
        "str",
        "None",
        "Sign or encrypt cached tokens",
        choices=("None", "MAC", "ENCRYPT"),
        keep="later",
    ),
    Option("memcache_secret_key", "str", None, "Key for that", secret=True, keep="later"),
    Option("memcache_tls_enabled", "bool", False, "TLS to memcached", keep="later"),
    Option("memcache_tls_cafile", "str", None, "CA for memcached TLS", keep="later"),
    Option("memcache_tls_certfile", "str", None, "Client certificate for memcached TLS", keep="later"),
    Option("memcache_tls_keyfile", "str", None, "Client key for memcached TLS", keep="later"),
    Option("memcache_tls_allowed_ciphers", "str", None, "Ciphers for memcached TLS", keep="later"),
    Option("memcache_pool_dead_retry", "int", 300, "Seconds a dead server is skipped"),
    Option("memcache_pool_maxsize", "int", 10, "Connections per server"),
    Option("memcache_pool_socket_timeout", "int", 3, "Socket timeout, seconds"),
    Option("memcache_pool_unused_timeout", "int", 60, "Idle connection life, seconds"),
    Option("memcache_pool_conn_get_timeout", "int", 10, "Wait for a pooled connection, seconds"),
    Option("memcache_use_advanced_pool", "bool", True, "Pool implementation switch", keep="no"),
    Option("include_service_catalog", "bool", True, "Ask for and forward the catalog"),
    Option("enforce_token_bind", "str", "permissive", "Token binding mode; keystone dropped binding", keep="no"),
    Option("service_token_roles", "list", ("service",), "Roles that make a service token valid"),
    Option("service_token_roles_required", "bool", True, "Ignore service tokens without such a role"),
    Option("service_type", "str", None, "Own service type for access rules of application credentials"),
    Option("memcache_sasl_enabled", "bool", False, "SASL to memcached", keep="later"),
    Option("memcache_username", "str", None, "SASL user", keep="later"),
    Option("memcache_password", "str", None, "SASL password", secret=True, keep="later"),
    Option(
        "auth_type",
        "str",
        None,
        "Auth plugin: password, v3password, v3applicationcredential, token ...",
        old_names=("auth_plugin",),
    ),
    Option("auth_section", "str", None, "Group holding the plugin options"),
)

# Options of the credentials that Blick itself shows to Keystone. They stand in the group that uses them,
# or in the one that its auth_section names.
AUTH_PLUGIN = (
    Option("auth_url", "str", None, "Identity URL"),
    Option("username", "str", None, "User name"),
    Option("user_id", "str", None, "User id"),
    Option("user_domain_name", "str", None, "Domain of the user"),
    Option("user_domain_id", "str", None, "Domain id of the user"),
    Option("password", "str", None, "Password", secret=True),
    Option("project_name", "str", None, "Project to scope to"),
    Option("project_id", "str", None, "Project id to scope to"),
    Option("project_domain_name", "str", None, "Domain of the project"),
    Option("project_domain_id", "str", None, "Domain id of the project"),
    Option("domain_id", "str", None, "Domain to scope to"),
    Option("domain_name", "str", None, "Domain to scope to"),
    Option("trust_id", "str", None, "Trust to use"),
    Option("application_credential_id", "str", None, "Application credential id"),
    Option("application_credential_name", "str", None, "Application credential name"),
    Option("application_credential_secret", "str", None, "Application credential secret", secret=True),
    Option("timeout", "int", None, "Request timeout, seconds"),
)

_BLICK = (
    Option(
        "trusted_proxies",
        "list",
        (),
        "Addresses or networks of the proxy whose identity headers count with flavor trusted-headers; "
        "none = this machine",
    ),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "paste_deploy": _PASTE_DEPLOY,
    "keystone_authtoken": _KEYSTONE_AUTHTOKEN + AUTH_PLUGIN,
    "blick": _BLICK,
}
