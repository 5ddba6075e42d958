"""Import methods, their plugins and filters, and tasks."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("do_secure_hash", "bool", True, "Compute checksum and os_hash_* in the location import task"),
    Option("http_retries", "int", 3, "Retries of an HTTP read when hashing an imported location"),
    Option("node_staging_uri", "str", "file:///tmp/staging/", "file:// directory for staged data without multi-store"),
    Option(
        "enabled_import_methods",
        "bounded-list",
        ("glance-direct", "web-download", "copy-image"),
        "Import methods on offer",
    ),
    Option(
        "worker_self_reference_url",
        "str",
        None,
        "URL by which other workers reach this one (staging proxy, cache node name)",
    ),
)

_IMAGE_IMPORT_OPTS = (
    Option(
        "image_import_plugins",
        "list",
        (),
        "Ordered import plugins: no_op, image_decompression, image_conversion, inject_image_metadata",
    ),
    Option("max_parallel_stores", "int", 1, "Stores written at the same time by one import", minimum=1),
)

_IMPORT_FILTERING_OPTS = (
    Option(
        "allowed_schemes", "bounded-list", ("http", "https"), "URI schemes allowed for web-download and http locations"
    ),
    Option("disallowed_schemes", "bounded-list", (), "URI schemes refused (used when the allow list is empty)"),
    Option("allowed_hosts", "bounded-list", (), "Hosts allowed; also lifts the loopback/link-local block"),
    Option("disallowed_hosts", "bounded-list", (), "Hosts refused (used when the allow list is empty)"),
    Option("allowed_ports", "bounded-ports", (80, 443), "Ports allowed"),
    Option("disallowed_ports", "bounded-ports", (), "Ports refused (used when the allow list is empty)"),
)

_INJECT_METADATA_PROPERTIES = (
    Option("ignore_user_roles", "list", ("admin",), "Roles whose images are not injected"),
    Option("inject", "dict", {}, "Properties written by the inject plugin"),
)

_IMAGE_CONVERSION = (
    Option("output_format", "str", "raw", "Target format of the conversion plugin", choices=("qcow2", "raw", "vmdk")),
)

_BLICK = (
    Option("staging_store", "str", None, "Store that keeps staged data, instead of a folder of each node's own"),
    Option("staging_ttl", "int", 48, "Hours an image may stay in uploading until it is queued again", minimum=1),
    Option("upload_ttl", "int", 24, "Hours a resumable upload may rest until it is given up", minimum=1),
    Option("jobs_in_api", "bool", True, "Do jobs in the API's processes too; off where blick worker does them"),
    Option("jobs_per_project", "int", 4, "Jobs of one project that run at once while others wait", minimum=1),
    Option("job_limits", "dict", {}, "Jobs of a kind that run at once in the whole deployment: kind:number"),
    Option("fetch_networks", "list", (), "Private networks that data may be fetched from, in CIDR notation"),
    Option("fetch_proxies", "dict", {}, "Proxies for fetching, by scheme: http:host:port,https:host:port", secret=True),
    Option("fetch_ca_file", "str", None, "Certificate authorities for fetching; unset = the system's"),
    Option("fetch_insecure", "bool", False, "Do not check certificates when fetching"),
    Option("fetch_retries", "int", 4, "Times in a row a broken download is taken up again", minimum=0),
    Option("convert_memory", "int", 1024, "Address space of qemu-img, MiB", minimum=64),
    Option("convert_cpu_time", "int", 3600, "Processor seconds of one conversion", minimum=1),
    Option("decompress_ratio", "int", 200, "How many times its size compressed data may grow", minimum=1),
)

_GLANCE_DOWNLOAD_PROPERTIES = (
    Option(
        "extra_properties",
        "list",
        ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type"),
        "Property prefixes copied by glance-download",
    ),
)

_TASK = (
    Option(
        "task_time_to_live", "int", 48, "Hours a finished task stays visible", old_names=("DEFAULT/task_time_to_live",)
    ),
    Option("task_executor", "str", "taskflow", "Only one executor exists", keep="no"),
    Option("work_dir", "str", None, "Scratch directory of import conversions (single-store mode)"),
)

_TASKFLOW_EXECUTOR = (
    Option(
        "engine_mode", "str", "parallel", "Serial or parallel step execution", choices=("serial", "parallel"), keep="no"
    ),
    Option("max_workers", "int", 10, "Parallel steps of tasks", minimum=1),
    Option(
        "conversion_format",
        "str",
        None,
        "Convert format of the legacy import task flow",
        choices=("qcow2", "raw", "vmdk"),
    ),
)

_WSGI = (
    Option("task_pool_threads", "int", 16, "[taskflow_executor] max_workers says how many at once", keep="no"),
    Option("python_interpreter", "str", None, "Python that starts qemu-img; unset = the one that runs the service"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
    "image_import_opts": _IMAGE_IMPORT_OPTS,
    "import_filtering_opts": _IMPORT_FILTERING_OPTS,
    "inject_metadata_properties": _INJECT_METADATA_PROPERTIES,
    "image_conversion": _IMAGE_CONVERSION,
    "glance_download_properties": _GLANCE_DOWNLOAD_PROPERTIES,
    "task": _TASK,
    "taskflow_executor": _TASKFLOW_EXECUTOR,
    "wsgi": _WSGI,
    "blick": _BLICK,
}
