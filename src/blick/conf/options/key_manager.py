"""Where the keys of signed and encrypted images come from."""

from collections.abc import Mapping

from blick.conf.options.identity import AUTH_PLUGIN
from blick.conf.options.option import Option

_KEY_MANAGER = (
    Option("backend", "str", "barbican", "barbican, vault, or a class path of a key manager", old_names=("api_class",)),
    Option(
        "auth_type",
        "str",
        None,
        "Credential kind for the key manager; unset = caller token",
        choices=("token", "password", "keystone_token", "keystone_password"),
        keep="later",
    ),
    Option("token", "str", None, "Fixed token", secret=True, keep="later"),
    Option("username", "str", None, "User name"),
    Option("password", "str", None, "Password", secret=True),
    Option("auth_url", "uri", None, "Identity URL"),
    Option("user_id", "str", None, "User id"),
    Option("user_domain_id", "str", None, "Domain id of the user"),
    Option("user_domain_name", "str", None, "Domain of the user"),
    Option("trust_id", "str", None, "Trust to use"),
    Option("domain_id", "str", None, "Domain to scope to"),
    Option("domain_name", "str", None, "Domain to scope to"),
    Option("project_id", "str", None, "Project id to scope to"),
    Option("project_name", "str", None, "Project to scope to"),
    Option("project_domain_id", "str", None, "Domain id of the project"),
    Option("project_domain_name", "str", None, "Domain of the project"),
    Option("reauthenticate", "bool", True, "Fetch a new token when the current one ends"),
)

_BARBICAN = (
    Option("barbican_endpoint", "uri", None, "Barbican URL instead of the catalog's"),
    Option("barbican_api_version", "str", None, "Barbican API version"),
    Option(
        "auth_endpoint",
        "uri",
        "http://localhost/identity/v3",
        "Identity URL for Barbican",
        old_names=("key_manager/auth_url",),
    ),
    Option("retry_delay", "int", 1, "Poll delay of key creation (keys are only read and deleted)", keep="no"),
    Option("number_of_retries", "int", 60, "Poll count of key creation", keep="no"),
    Option("verify_ssl", "bool", True, "Verify TLS"),
    Option("verify_ssl_path", "str", None, "CA bundle"),
    Option("barbican_endpoint_type", "str", "public", "Catalog interface", choices=("public", "internal", "admin")),
    Option("barbican_region_name", "str", None, "Catalog region"),
    Option("send_service_user_token", "bool", False, "Send our own service token along"),
    Option("cafile", "str", None, "CA bundle"),
    Option("certfile", "str", None, "Client certificate"),
    Option("keyfile", "str", None, "Client key"),
    Option("insecure", "bool", False, "Skip TLS verification"),
    Option("timeout", "float", None, "Request timeout, seconds"),
    Option("collect_timing", "bool", False, "Per-call timing records", keep="no"),
    Option("split_loggers", "bool", False, "Several HTTP loggers", keep="no"),
    Option("tls_ciphers", "str", None, "TLS cipher string", keep="later"),
    Option("tls_min_version", "str", None, "Lowest TLS version", choices=("1.2", "1.3"), keep="later"),
)

_BARBICAN_SERVICE_USER = (
    Option("cafile", "str", None, "CA bundle"),
    Option("certfile", "str", None, "Client certificate"),
    Option("keyfile", "str", None, "Client key"),
    Option("insecure", "bool", False, "Skip TLS verification"),
    Option("timeout", "float", None, "Request timeout, seconds"),
    Option("collect_timing", "bool", False, "Per-call timing records", keep="no"),
    Option("split_loggers", "bool", False, "Several HTTP loggers", keep="no"),
    Option("tls_ciphers", "str", None, "TLS cipher string", keep="later"),
    Option("tls_min_version", "str", None, "Lowest TLS version", choices=("1.2", "1.3"), keep="later"),
    Option(
        "auth_type",
        "str",
        None,
        "Auth plugin: password, v3password, v3applicationcredential, token ...",
        old_names=("auth_plugin",),
    ),
    Option("auth_section", "str", None, "Group holding the plugin options"),
)

_VAULT = (
    Option("root_token_id", "str", None, "Vault root token", secret=True, keep="later"),
    Option(
        "auth_method", "str", "approle", "Vault auth method", choices=("approle", "jwt", "kubernetes"), keep="later"
    ),
    Option("approle_role_id", "str", None, "Vault AppRole id", secret=True, keep="later"),
    Option("approle_secret_id", "str", None, "Vault AppRole secret", secret=True, keep="later"),
    Option("token_role", "str", None, "Vault role of token login", keep="later"),
    Option("token_file", "str", None, "Vault login token file", keep="later"),
    Option("auth_path", "str", None, "Vault auth mount", keep="later"),
    Option("kv_mountpoint", "str", "secret", "Vault KV mount", keep="later"),
    Option("kv_path", "str", None, "Vault KV prefix", keep="later"),
    Option("kv_version", "int", 2, "Vault KV version", choices=(1, 2), keep="later"),
    Option("vault_url", "uri", "http://127.0.0.1:8200", "Vault URL", keep="later"),
    Option("ssl_ca_crt_file", "str", None, "Vault CA", keep="later"),
    Option("use_ssl", "bool", False, "TLS to Vault", keep="later", deprecated="an earlier release"),
    Option("namespace", "str", None, "Vault namespace", keep="later"),
    Option("timeout", "float", 60, "Request timeout, seconds", keep="later"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "key_manager": _KEY_MANAGER,
    "barbican": _BARBICAN,
    "barbican_service_user": _BARBICAN_SERVICE_USER
    + tuple(option for option in AUTH_PLUGIN if option.name != "timeout"),
    "vault": _VAULT,
}
