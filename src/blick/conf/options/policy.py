"""Who may do what."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("property_protection_file", "str", None, "Property protection rules; empty = off"),
    Option(
        "property_protection_rule_format",
        "str",
        "roles",
        "Whether rules name roles or policies",
        choices=("roles", "policies"),
    ),
)

_OSLO_POLICY = (
    Option("enforce_new_defaults", "bool", True, "False ORs the old defaults in and adds legacy owner checks"),
    Option("policy_file", "str", "policy.yaml", "Policy overrides file", old_names=("DEFAULT/policy_file",)),
    Option(
        "policy_default_rule",
        "str",
        "default",
        "Rule used for unknown names",
        old_names=("DEFAULT/policy_default_rule",),
    ),
    Option("policy_dirs", "multi-str", ("policy.d",), "Extra policy directories", old_names=("DEFAULT/policy_dirs",)),
    Option(
        "remote_content_type",
        "str",
        "application/x-www-form-urlencoded",
        "Body type of http: checks",
        choices=("application/x-www-form-urlencoded", "application/json"),
    ),
    Option("remote_ssl_verify_server_crt", "bool", False, "Verify TLS of https: checks"),
    Option("remote_ssl_ca_crt_file", "str", None, "CA of https: checks"),
    Option("remote_ssl_client_crt_file", "str", None, "Client certificate of https: checks"),
    Option("remote_ssl_client_key_file", "str", None, "Client key of https: checks"),
    Option("remote_timeout", "float", 60, "Timeout of http checks, seconds", minimum=0),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
    "oslo_policy": _OSLO_POLICY,
}
