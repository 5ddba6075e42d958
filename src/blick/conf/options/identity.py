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
        ignore_case=True,
    ),
    Option("memcache_secret_key", "str", None, "Key for that", secret=True),
    Option("memcache_tls_enabled", "bool", False, "TLS to memcached"),
    Option("memcache_tls_cafile", "str", None, "CA for memcached TLS"),
    Option("memcache_tls_certfile", "str", None, "Client certificate for memcached TLS"),
    Option("memcache_tls_keyfile", "str", None, "Client key for memcached TLS"),
    Option("memcache_tls_allowed_ciphers", "str", None, "Ciphers for memcached TLS"),
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
    Option("username", "str", None, "User name", old_names=("user_name",)),
    Option("user_id", "str", None, "User id"),
    Option("user_domain_name", "str", None, "Domain of the user"),
    Option("user_domain_id", "str", None, "Domain id of the user"),
    Option("password", "str", None, "Password", secret=True),
    Option("project_name", "str", None, "Project to scope to", old_names=("tenant_name",)),
    Option("project_id", "str", None, "Project id to scope to", old_names=("tenant_id",)),
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

# The same, of the kinds of credentials that services seldom have.
RARE_AUTH_PLUGIN = (
    Option("endpoint", "str", None, "Identity URL of auth_type none, admin_token and http_basic", old_names=("url",)),
    Option("token", "str", None, "Token to use as it is, or to log in with", secret=True),
    Option("system_scope", "str", None, "`all` for a token of the system"),
    Option("default_domain_id", "str", None, "Domain id of user and project where they name none"),
    Option("default_domain_name", "str", None, "Domain of user and project where they name none"),
    Option("auth_methods", "str", None, "Methods of v3multifactor, comma separated"),
    Option("passcode", "str", None, "One-time password", secret=True),
    Option("identity_provider", "str", None, "Provider of a federated log-in"),
    Option("protocol", "str", None, "Protocol of a federated log-in"),
    Option("discovery_endpoint", "str", None, "Discovery document of OpenID Connect"),
    Option("client_id", "str", None, "OAuth 2.0 client"),
    Option("client_secret", "str", None, "Its secret", secret=True),
    Option("scope", "str", None, "OpenID Connect scope"),
    Option("access_token", "str", None, "OAuth 2.0 access token", secret=True),
    Option("access_token_endpoint", "str", None, "Where access tokens come from"),
    Option("access_token_type", "str", None, "Which token of the provider's answer is used"),
    Option("redirect_uri", "str", None, "OpenID Connect redirect URL"),
    Option("code", "str", None, "OAuth 2.0 authorization code", secret=True, old_names=("authorization_code",)),
    Option("oauth2_endpoint", "str", None, "Keystone's OAuth 2.0 endpoint"),
    Option("oauth2_client_id", "str", None, "OAuth 2.0 client at Keystone"),
    Option("oauth2_client_secret", "str", None, "Its secret", secret=True),
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
    "keystone_authtoken": _KEYSTONE_AUTHTOKEN + AUTH_PLUGIN + RARE_AUTH_PLUGIN,
    "blick": _BLICK,
}
