"""Locks and reports on this machine, and profiling."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_OS_BRICK = (
    Option("lock_path", "str", None, "Lock directory shared with Cinder on the same host"),
    Option("wait_mpath_device_attempts", "int", 4, "Tries to find a multipath device", minimum=1, keep="later"),
    Option("wait_mpath_device_interval", "int", 1, "Seconds between those tries", minimum=1, keep="later"),
)

_OSLO_CONCURRENCY = (
    Option(
        "disable_process_locking",
        "bool",
        False,
        "Turn inter-process locks off",
        old_names=("DEFAULT/disable_process_locking",),
        keep="no",
    ),
    Option("lock_path", "str", None, "Directory of inter-process lock files", old_names=("DEFAULT/lock_path",)),
)

_OSLO_REPORTS = (
    Option("log_dir", "str", None, "Directory of state reports", keep="no"),
    Option("file_event_handler", "str", None, "File whose change triggers a state report", keep="no"),
    Option("file_event_handler_interval", "int", 1, "Poll period of that file", keep="no"),
)

_PROFILER = (
    Option("enabled", "bool", False, "Distributed profiling on", old_names=("profiler_enabled",), keep="no"),
    Option("trace_sqlalchemy", "bool", False, "Profile SQL", keep="no"),
    Option("trace_requests", "bool", False, "Profile HTTP client calls", keep="no"),
    Option("hmac_keys", "str", "SECRET_KEY", "Profiling secrets", secret=True, keep="no"),
    Option("connection_string", "str", "messaging://", "Profiling collector", keep="no"),
    Option("es_doc_type", "str", "notification", "Profiling collector detail", keep="no"),
    Option("es_scroll_time", "str", "2m", "Profiling collector detail", keep="no"),
    Option("es_scroll_size", "int", 10000, "Profiling collector detail", keep="no"),
    Option("socket_timeout", "float", 0.1, "Profiling collector detail", keep="no"),
    Option("sentinel_service_name", "str", "mymaster", "Profiling collector detail", keep="no"),
    Option("filter_error_trace", "bool", False, "Profiling error filter", keep="no"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "os_brick": _OS_BRICK,
    "oslo_concurrency": _OSLO_CONCURRENCY,
    "oslo_reports": _OSLO_REPORTS,
    "profiler": _PROFILER,
}
