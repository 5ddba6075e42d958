"""Where log lines go and what they look like."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("debug", "bool", False, "Log at DEBUG instead of INFO", reload=True),
    Option(
        "log_config_append",
        "str",
        None,
        "Python logging config file that replaces all log options",
        old_names=("log_config",),
        reload=True,
    ),
    Option("log_date_format", "str", "%Y-%m-%d %H:%M:%S", "Date format of log lines"),
    Option("log_file", "str", None, "Log file name", old_names=("logfile",)),
    Option("log_dir", "str", None, "Directory joined to a relative log-file", old_names=("logdir",)),
    Option("use_syslog", "bool", False, "Log to syslog"),
    Option("use_journal", "bool", False, "Log to journald"),
    Option("syslog_log_facility", "str", "LOG_USER", "Syslog facility"),
    Option("use_json", "bool", False, "Log lines as JSON"),
    Option("use_stderr", "bool", False, "Also log to stderr"),
    Option("log_color", "bool", False, "Colour codes in log lines", keep="later"),
    Option("log_rotate_interval", "int", 1, "Rotation period count (log_rotation_type interval)", keep="later"),
    Option(
        "log_rotate_interval_type",
        "str",
        "days",
        "Rotation period unit",
        choices=("Seconds", "Minutes", "Hours", "Days", "Weekday", "Midnight"),
        ignore_case=True,
        keep="later",
    ),
    Option("max_logfile_count", "int", 30, "Rotated files kept", keep="later"),
    Option("max_logfile_size_mb", "int", 200, "Size that triggers rotation", keep="later"),
    Option(
        "log_rotation_type",
        "str",
        "none",
        "How log files rotate: by time, by size or not",
        choices=("interval", "size", "none"),
        keep="later",
    ),
    Option(
        "logging_context_format_string",
        "str",
        "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [%(global_request_id)s %(request_id)s "
        "%(user_identity)s] %(instance)s%(message)s",
        "Log line format inside a request",
    ),
    Option(
        "logging_default_format_string",
        "str",
        "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [-] %(instance)s%(message)s",
        "Log line format outside a request",
    ),
    Option("logging_debug_format_suffix", "str", "%(funcName)s %(pathname)s:%(lineno)d", "Suffix added to debug lines"),
    Option(
        "logging_exception_prefix",
        "str",
        "%(asctime)s.%(msecs)03d %(process)d ERROR %(name)s %(instance)s",
        "Prefix of every traceback line",
    ),
    Option(
        "logging_user_identity_format",
        "str",
        "%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s",
        "How user identity is printed in log lines",
    ),
    Option(
        "default_log_levels",
        "list",
        (
            "amqp=WARN",
            "boto=WARN",
            "sqlalchemy=WARN",
            "suds=INFO",
            "oslo.messaging=INFO",
            "oslo_messaging=INFO",
            "iso8601=WARN",
            "requests.packages.urllib3.connectionpool=WARN",
            "urllib3.connectionpool=WARN",
            "websocket=WARN",
            "requests.packages.urllib3.util.retry=WARN",
            "urllib3.util.retry=WARN",
            "keystonemiddleware=WARN",
            "routes.middleware=WARN",
            "stevedore=WARN",
            "taskflow=WARN",
            "keystoneauth=WARN",
            "oslo.cache=INFO",
            "oslo_policy=INFO",
            "dogpile.core.dogpile=INFO",
        ),
        "Per-logger levels",
    ),
    Option("publish_errors", "bool", False, "Send error log records as notifications", keep="no"),
    Option(
        "instance_format", "str", "[instance: %(uuid)s] ", "Prefix for instance records (other services)", keep="no"
    ),
    Option(
        "instance_uuid_format",
        "str",
        "[instance: %(uuid)s] ",
        "Prefix for instance uuid records (other services)",
        keep="no",
    ),
    Option("rate_limit_interval", "int", 0, "Log rate limit window in seconds (0 off)", keep="later"),
    Option("rate_limit_burst", "int", 0, "Log records allowed per window", keep="later"),
    Option(
        "rate_limit_except_level",
        "str",
        "CRITICAL",
        "Level never rate limited",
        choices=("CRITICAL", "ERROR", "INFO", "WARNING", "DEBUG", ""),
        keep="later",
    ),
    Option("fatal_deprecations", "bool", False, "Turn deprecation warnings into errors", keep="no"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
}
