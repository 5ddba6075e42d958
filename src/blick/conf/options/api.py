"""The shape of the API: versions, pages, what is shown; and what is left of the group DEFAULT."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("allow_anonymous_access", "bool", False, "Let token-less requests through read-only"),
    Option("max_request_id_length", "int", 64, "Longest accepted X-Openstack-Request-ID, 0 = no limit", minimum=0),
    Option(
        "public_endpoint",
        "str",
        None,
        "Base URL printed in version documents and fallback of worker_self_reference_url",
    ),
    Option("hashing_algorithm", "str", "sha512", "Algorithm of os_hash_value (any hashlib name)"),
    Option("limit_param_default", "int", 25, "Page size when the client gives none", minimum=1),
    Option("api_limit_max", "int", 1000, "Largest page size served", minimum=1),
    Option("show_image_direct_url", "bool", False, "Show direct_url of an image"),
    Option("show_multiple_locations", "bool", False, "Show and allow PATCH of locations", deprecated="Newton"),
    Option("pydev_worker_debug_host", "host", None, "Remote debugger host", keep="no"),
    Option("pydev_worker_debug_port", "port", 5678, "Remote debugger port", keep="no"),
    Option(
        "metadata_encryption_key",
        "str",
        None,
        "AES key (16/24/32 bytes) encrypting location URLs in the database; needed to read databases that used it",
        secret=True,
        deprecated="Dalmatian",
    ),
    Option("digest_algorithm", "str", "sha256", "Without effect", keep="no", deprecated="Dalmatian"),
    Option(
        "metadata_source_path", "str", "/etc/glance/metadefs/", "Default directory of metadef files for glance-manage"
    ),
)

_IMAGE_FORMAT = (
    Option(
        "container_formats",
        "list",
        ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"),
        "Accepted container_format values",
        old_names=("DEFAULT/container_formats",),
    ),
    Option(
        "disk_formats",
        "list",
        ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"),
        "Accepted disk_format values",
        old_names=("DEFAULT/disk_formats",),
    ),
    Option(
        "vmdk_allowed_types",
        "list",
        ("streamOptimized", "monolithicSparse"),
        "VMDK createType values accepted by content checks; empty list = none",
    ),
    Option("require_image_format_match", "bool", True, "Reject data whose detected format differs from disk_format"),
    Option("gpt_safety_checks_nonfatal", "list", (), "Names of GPT/MBR checks that only warn"),
)

_CORS = (
    Option("allowed_origin", "list", None, "Origins allowed; unset = CORS off"),
    Option("allow_credentials", "bool", True, "Send Access-Control-Allow-Credentials"),
    Option(
        "expose_headers",
        "list",
        ("X-Image-Meta-Checksum", "X-Auth-Token", "X-Subject-Token", "X-Service-Token", "X-OpenStack-Request-ID"),
        "Response headers exposed to scripts",
    ),
    Option("max_age", "int", 3600, "Preflight cache seconds"),
    Option("allow_methods", "list", ("GET", "PUT", "POST", "DELETE", "PATCH"), "Methods allowed cross-origin"),
    Option(
        "allow_headers",
        "list",
        (
            "Content-MD5",
            "X-Image-Meta-Checksum",
            "X-Storage-Token",
            "Accept-Encoding",
            "X-Auth-Token",
            "X-Identity-Status",
            "X-Roles",
            "X-Service-Catalog",
            "X-User-Id",
            "X-Tenant-Id",
            "X-OpenStack-Request-ID",
        ),
        "Request headers allowed cross-origin",
    ),
)

_HEALTHCHECK = (
    Option("detailed", "bool", False, "Verbose health answer"),
    Option("backends", "list", (), "Health plugins (disable_by_file, disable_by_files_ports, enable_by_files)"),
    Option("allowed_source_ranges", "list", (), "Client networks allowed to ask"),
    Option("ignore_proxied_requests", "bool", False, "Refuse requests that came through a proxy"),
    Option("disable_by_file_path", "str", None, "File whose presence answers 503"),
    Option("disable_by_file_paths", "list", (), "port:file pairs, same idea per port"),
    Option("enable_by_file_paths", "list", (), "Files that must all exist to answer 200"),
)

_OSLO_MIDDLEWARE = (Option("enable_proxy_headers_parsing", "bool", False, "Trust X-Forwarded-* / Forwarded"),)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
    "image_format": _IMAGE_FORMAT,
    "cors": _CORS,
    "healthcheck": _HEALTHCHECK,
    "oslo_middleware": _OSLO_MIDDLEWARE,
}
