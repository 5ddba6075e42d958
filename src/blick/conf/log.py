"""Log lines: where they go and what they look like, with the standard library's logging."""

import contextlib
import json
import logging
import logging.config
import logging.handlers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blick.conf.options import log as log_options
from blick.conf.settings import LogSettings
from blick.model.context import RequestContext
from blick.model.errors import StartRefused

CurrentContext = Callable[[], RequestContext | None]

_DEFAULTS: Mapping[str, Any] = {option.name: option.default for option in log_options.OPTIONS["DEFAULT"]}
# Libraries that the option's default does not know, and that say at every start what nobody needs to know.
_OWN_LEVELS = ("alembic=WARN",)
_NONE = "-"
# What formats may name beside the fields of every record, and which field of a context it comes from.
_CONTEXT_FIELDS = {
    "request_id": "request_id",
    "user": "user_id",
    "project": "project_id",
    "tenant": "project_id",
    "domain": "domain_id",
    "system_scope": "system_scope",
    "user_domain": "user_domain_id",
    "project_domain": "project_domain_id",
    "user_name": "user_name",
    "project_name": "project_name",
}


def set_up_logging(
    settings: LogSettings, program: str = "blick", current_context: CurrentContext = lambda: None
) -> None:
    """Send the log lines of this process where `settings` say; what was set up before is replaced.

    `program` names the file in log_dir. `current_context` gives the caller of the request that is being served.
    Lines go to stderr unless a file, syslog or a logging configuration file says otherwise.
    Raises StartRefused for files that can't be opened and for formats that don't work.
    """
    if settings.log_config_append is not None:
        _from_file(settings.log_config_append)
        return
    formatter = _JsonFormatter() if settings.use_json else _Formatter(settings)
    _require_sound(formatter)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in _handlers(settings, program):
        handler.addFilter(_ContextFilter(settings, current_context))
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG if settings.debug else logging.INFO)
    for pair in (*_OWN_LEVELS, *(settings.default_log_levels or _DEFAULTS["default_log_levels"])):
        name, _, level = pair.partition("=")
        _set_level(name.strip(), level.strip())


def _from_file(path: Path) -> None:
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False)
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError, ImportError) as error:
        raise StartRefused(f"DEFAULT.log_config_append: {path}: {error}.") from error


def _handlers(settings: LogSettings, program: str) -> list[logging.Handler]:
    handlers: list[logging.Handler] = []
    with contextlib.ExitStack() as undo:
        if (file := _log_file(settings, program)) is not None:
            handlers.append(undo.enter_context(contextlib.closing(_file(file))))
        if settings.use_syslog:
            handlers.append(_syslog(settings.syslog_log_facility))
        undo.pop_all()
    # The journal of a service manager takes what a service says on stderr.
    if not handlers or settings.use_stderr or settings.use_journal:
        handlers.append(logging.StreamHandler())
    return handlers


def _file(file: Path) -> logging.Handler:
    try:
        return logging.handlers.WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise StartRefused(f"DEFAULT.log_file: {file}: {error.strerror}.") from error


def _log_file(settings: LogSettings, program: str) -> Path | None:
    if settings.log_file is not None:
        return (settings.log_dir or Path()) / settings.log_file
    return settings.log_dir / f"{program}.log" if settings.log_dir is not None else None


def _syslog(facility: str) -> logging.Handler:
    names = logging.handlers.SysLogHandler.facility_names
    name = facility.lower().removeprefix("log_")
    if name not in names:
        raise StartRefused(f"DEFAULT.syslog_log_facility: {facility} is not a syslog facility.")
    try:
        return logging.handlers.SysLogHandler(address="/dev/log", facility=names[name])
    except OSError as error:
        raise StartRefused(f"DEFAULT.use_syslog: no syslog listens at /dev/log: {error.strerror}.") from error


def _set_level(name: str, level: str) -> None:
    try:
        logging.getLogger(name).setLevel(int(level) if level.isdigit() else level.upper())
    except ValueError as error:
        raise StartRefused(f"DEFAULT.default_log_levels: {name}: {level} is not a level.") from error


class _ContextFilter(logging.Filter):
    """Gives every record the fields that formats may name; `-` stands where there is nothing to say."""

    def __init__(self, settings: LogSettings, current_context: CurrentContext) -> None:
        super().__init__()
        self._current_context = current_context
        self._identity = settings.user_identity_format or _DEFAULTS["logging_user_identity_format"]

    def filter(self, record: logging.LogRecord) -> bool:
        _complete(record, self._current_context(), self._identity)
        return True


def _complete(record: logging.LogRecord, context: RequestContext | None, identity_format: str) -> None:
    # What the caller of the logger passed as `extra` counts more than what is known anyway.
    for field, attribute in _CONTEXT_FIELDS.items():
        if not hasattr(record, field):
            setattr(record, field, getattr(context, attribute, None) or _NONE)
    for field, value in (("global_request_id", _NONE), ("instance", ""), ("resource", ""), ("color", "")):
        if not hasattr(record, field):
            setattr(record, field, value)
    if not hasattr(record, "user_identity"):
        record.user_identity = identity_format % record.__dict__


class _Formatter(logging.Formatter):
    """One format inside a request, another outside, a suffix for debug lines, a prefix for each line of a traceback."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__(datefmt=settings.log_date_format)
        self._inside = settings.context_format or _DEFAULTS["logging_context_format_string"]
        self._outside = settings.default_format or _DEFAULTS["logging_default_format_string"]
        self._suffix = settings.debug_format_suffix or _DEFAULTS["logging_debug_format_suffix"]
        self._prefix = settings.exception_prefix or _DEFAULTS["logging_exception_prefix"]
        self._identity = settings.user_identity_format or _DEFAULTS["logging_user_identity_format"]

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        chosen = self._outside if record.__dict__.get("request_id", _NONE) == _NONE else self._inside
        if record.levelno == logging.DEBUG:
            chosen = f"{chosen} {self._suffix}"
        return str(chosen % record.__dict__)

    def format(self, record: logging.LogRecord) -> str:
        """Like the base class, which keeps a traceback's text with the record: prefixes must not be kept there."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        traceback = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        if traceback:
            prefix = self._prefix % record.__dict__
            lines += [prefix + line for line in traceback.splitlines()]
        if record.stack_info:
            lines.append(self.formatStack(record.stack_info))
        return "\n".join(lines)

    def check(self) -> None:
        """Format one record of each kind. Raises StartRefused naming the option that does not work."""
        record = logging.makeLogRecord({"name": "blick", "msg": "", "asctime": ""})
        record.message = ""
        named = {
            "logging_user_identity_format": self._identity,
            "logging_context_format_string": self._inside,
            "logging_default_format_string": self._outside,
            "logging_debug_format_suffix": self._suffix,
            "logging_exception_prefix": self._prefix,
        }
        for option, text in named.items():
            try:
                _complete(record, None, self._identity)
                text % record.__dict__
            except (KeyError, ValueError, TypeError) as error:
                raise StartRefused(f"DEFAULT.{option}: does not work as a format: {error}.") from error


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "message": record.getMessage(),
            "asctime": self.formatTime(record),
            "name": record.name,
            "levelname": record.levelname,
            "levelno": record.levelno,
            "pathname": record.pathname,
            "lineno": record.lineno,
            "funcname": record.funcName,
            "process": record.process,
            "thread_name": record.threadName,
            "context": {name: record.__dict__.get(name, _NONE) for name in ("global_request_id", *_CONTEXT_FIELDS)},
            "traceback": self.formatException(record.exc_info).splitlines() if record.exc_info else None,
        }
        return json.dumps(fields, default=repr)


def _require_sound(formatter: logging.Formatter) -> None:
    if isinstance(formatter, _Formatter):
        formatter.check()
