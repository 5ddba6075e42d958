"""Where log lines go and what they look like."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from blick.conf.log import set_up_logging
from blick.conf.settings import LogSettings
from blick.model.context import RequestContext
from blick.model.errors import StartRefused

_log = logging.getLogger("blick.test")


@pytest.fixture(autouse=True)
def _give_logging_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)


def _settings(folder: Path, **changes: object) -> LogSettings:
    return LogSettings(log_file=folder / "b.log", **changes)  # type: ignore[arg-type]


def _lines(folder: Path) -> list[str]:
    return (folder / "b.log").read_text("utf-8").splitlines()


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings())
    _log.info("hello %s", "you")
    assert capsys.readouterr().err.endswith(" INFO blick.test [-] hello you\n")


def test_file_without_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(_settings(tmp_path))
    _log.info("hello")
    _log.debug("hidden")
    assert [line[24:] for line in _lines(tmp_path)] == [f"{_lines(tmp_path)[0].split()[2]} INFO blick.test [-] hello"]
    assert capsys.readouterr().err == ""


def test_file_and_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(_settings(tmp_path, use_stderr=True))
    _log.info("hello")
    assert len(_lines(tmp_path)) == 1
    assert "hello" in capsys.readouterr().err


def test_file_is_named_after_the_program_in_a_folder(tmp_path: Path) -> None:
    set_up_logging(LogSettings(log_dir=tmp_path), "glance-api")
    _log.info("hello")
    assert "hello" in (tmp_path / "glance-api.log").read_text()


def test_relative_file_lies_in_the_folder(tmp_path: Path) -> None:
    set_up_logging(LogSettings(log_dir=tmp_path, log_file=Path("own.log")))
    _log.info("hello")
    assert "hello" in (tmp_path / "own.log").read_text()


def test_set_up_twice_says_everything_once(tmp_path: Path) -> None:
    set_up_logging(_settings(tmp_path))
    set_up_logging(_settings(tmp_path))
    _log.info("hello")
    assert len(_lines(tmp_path)) == 1


def test_request_fields(tmp_path: Path) -> None:
    context = RequestContext(request_id="req-1", user_id="ann", project_id="blue")
    settings = _settings(
        tmp_path, context_format="%(request_id)s|%(user_identity)s|%(message)s", default_format="-|%(message)s"
    )
    current: list[RequestContext] = [context]
    set_up_logging(settings, current_context=lambda: current[0] if current else None)
    _log.info("inside")
    current.clear()
    _log.info("outside")
    _log.info("told", extra={"request_id": "req-2"})
    assert _lines(tmp_path) == [
        "req-1|ann blue - - - -|inside",
        "-|outside",
        "req-2|- - - - - -|told",
    ]


def test_debug_lines_say_where_they_come_from(tmp_path: Path) -> None:
    set_up_logging(_settings(tmp_path, debug=True, debug_format_suffix="@%(funcName)s"))
    _log.debug("deep")
    assert _lines(tmp_path)[0].endswith("deep @test_debug_lines_say_where_they_come_from")


def test_every_line_of_a_traceback_has_the_prefix(tmp_path: Path) -> None:
    set_up_logging(_settings(tmp_path, exception_prefix="E %(name)s "))
    try:
        raise ValueError("broken")
    except ValueError:
        _log.exception("failed")
    first, *rest = _lines(tmp_path)
    assert first.endswith("failed")
    assert rest[0] == "E blick.test Traceback (most recent call last):"
    assert rest[-1] == "E blick.test ValueError: broken"


def test_json_lines(tmp_path: Path) -> None:
    set_up_logging(_settings(tmp_path, use_json=True))
    _log.warning("a %s", "b", extra={"request_id": "req-3"})
    [line] = _lines(tmp_path)
    content = json.loads(line)
    assert (content["message"], content["levelname"], content["name"]) == ("a b", "WARNING", "blick.test")
    assert content["context"]["request_id"] == "req-3"
    assert content["traceback"] is None


def test_levels_of_single_loggers(tmp_path: Path) -> None:
    set_up_logging(_settings(tmp_path, default_log_levels=("blick.quiet=WARN", "blick.loud=DEBUG")))
    logging.getLogger("blick.quiet").info("no")
    logging.getLogger("blick.loud").debug("yes")
    assert [line.split(" [-] ")[1].split()[0] for line in _lines(tmp_path)] == ["yes"]


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"default_format": "%(nothing)s"}, "logging_default_format_string"),
        ({"context_format": "%(message)"}, "logging_context_format_string"),
        ({"user_identity_format": "%(who)s"}, "logging_user_identity_format"),
        ({"exception_prefix": "%d"}, "logging_exception_prefix"),
        ({"default_log_levels": ("a=LOUDER",)}, "default_log_levels"),
        ({"use_syslog": True, "syslog_log_facility": "LOG_NOBODY"}, "syslog_log_facility"),
        ({"log_config_append": Path("/does/not/exist.ini")}, "log_config_append"),
    ],
)
def test_what_does_not_work_is_named(tmp_path: Path, changes: dict[str, object], option: str) -> None:
    with pytest.raises(StartRefused, match=rf"DEFAULT\.{option}: "):
        set_up_logging(_settings(tmp_path, **changes))


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"DEFAULT\.log_file: .*No such file"):
        set_up_logging(LogSettings(log_file=tmp_path / "absent" / "b.log"))


def test_logging_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "logging.ini"
    path.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=one\n[formatters]\nkeys=plain\n"
        "[logger_root]\nlevel=INFO\nhandlers=one\n[formatter_plain]\nformat=<%(message)s>\n"
        f"[handler_one]\nclass=FileHandler\nformatter=plain\nargs=({str(tmp_path / 'b.log')!r},)\n"
    )
    set_up_logging(LogSettings(log_config_append=path))
    _log.info("hello")
    assert _lines(tmp_path) == ["<hello>"]
