"""Every command, called with an operator's mistakes: it ends at once, with a clear word about it and no traceback."""

import logging
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from blick.cli.main import run
from blick.cli.programs import PROGRAMS, commands, parser

_STORE = "[glance_store]\nfilesystem_store_datadir = {folder}/images\n[paste_deploy]\nflavor = none\n"
_DATABASE = "[database]\nconnection = {url}\n"
# They show what is wrong as what they are there to show.
_DIAGNOSES = {"blick status", "blick config check", "glance-status upgrade check"}
# What glance-replicator cannot do without, though its parser can.
_NEEDED = {"command": "size", "arguments": "127.0.0.1:1"}
# A service that is started makes its folder.
_MAKES_DATA = {"blick serve"}


@dataclass(frozen=True)
class Leaf:
    """A command without subcommands: `chain` is the way to it, the program first."""

    chain: tuple[click.Context, ...]

    @property
    def path(self) -> str:
        return self.chain[-1].command_path

    @property
    def is_in_need(self) -> bool:
        """Does anything have to be said?"""
        return any(one.required for context in self.chain for one in context.command.params)

    def options(self, name: str) -> list[click.Option]:
        """Those of this name, on the whole way."""
        return [option for context in self.chain for option in _options(context) if name in option.opts]

    def arguments(self, **values: str) -> list[str]:
        """A command line with everything that is required, and `values` of options by their names without dashes."""
        line: list[str] = []
        for context in self.chain:
            line += [context.info_name or ""] if context.parent else []
            for option in _options(context):
                given = values.get(option.opts[0].lstrip("-").replace("-", "_"))
                if given is not None:
                    line += [option.opts[0], given]
                elif option.required:
                    line += [option.opts[0], "x"]
        words = [one for one in self.chain[-1].command.params if isinstance(one, click.Argument)]
        return line + [_word(one) for one in words if one.required or one.name in _NEEDED]


def _options(context: click.Context) -> list[click.Option]:
    return [one for one in context.command.params if isinstance(one, click.Option)]


def _word(argument: click.Argument) -> str:
    if isinstance(argument.type, click.Choice):
        return str(argument.type.choices[0])
    return _NEEDED.get(argument.name or "", "x")


def _leaves() -> Iterator[Leaf]:
    for program in PROGRAMS:
        for context in commands(program):
            if not isinstance(context.command, click.Group):
                chain = [context]
                while (parent := chain[0].parent) is not None:
                    chain.insert(0, parent)
                yield Leaf(tuple(chain))


LEAVES = tuple(_leaves())


def on_each(leaves: Iterable[Leaf]) -> pytest.MarkDecorator:
    """Run a test on each of these commands."""
    return pytest.mark.parametrize("leaf", [pytest.param(leaf, id=leaf.path) for leaf in leaves])


CONFIGURED = [leaf for leaf in LEAVES if leaf.options("--config-file")]
WITH_DATA = [leaf for leaf in LEAVES if leaf.options("--data")]


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Commands set up logging for their process, which is ours here."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; there is no configuration or service anywhere else."""
    folder = tmp_path / "alone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("BLICK_DATA", raising=False)
    return folder


def call(program: str, arguments: list[str]) -> Result:
    @click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def through(words: tuple[str, ...]) -> None:
        run(parser(program), args=list(words), prog_name=program)

    return CliRunner().invoke(through, ["--", *arguments])


def assert_told(result: Result, what: str, *, diagnosis: bool = False) -> None:
    """It failed, and said why in a line."""
    assert isinstance(result.exception, SystemExit), f"{what}: {result.exception!r}"
    assert result.exit_code in (1, 2, 3), what
    assert "Traceback" not in result.output, what
    said = result.stderr.strip().splitlines()
    if diagnosis and not said:
        assert result.stdout.strip(), what
        return
    assert said, f"{what}: nothing was said"
    if result.exit_code == 2 and said[0].startswith("Usage:"):
        assert len([line for line in said if line.startswith("Error: ")]) == 1, f"{what}: {said}"
    else:
        assert len(said) == 1, f"{what}: {said}"


def _refused_url(scheme: str) -> str:
    """Of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"{scheme}://user:word@127.0.0.1:{probe.getsockname()[1]}/images"


def _configurations(folder: Path) -> dict[str, Path]:
    """Files that cannot be started with, by what is wrong with them."""
    store = _STORE.format(folder=folder)
    (folder / "text.sqlite").write_text("this is not a database, and long enough to be none" * 100)
    texts = {
        "not a configuration": "what is this\n",
        "wrong value": _DATABASE.format(url=f"sqlite:///{folder}/x.sqlite") + "max_pool_size = many\n" + store,
        "without a database": store,
        "not a URL": _DATABASE.format(url="nonsense") + store,
        "unknown kind of database": _DATABASE.format(url="mongodb://u:p@127.0.0.1/x") + store,
        "no folder for the database": _DATABASE.format(url=f"sqlite:///{folder}/no/such/folder/x.sqlite") + store,
        "not a database": _DATABASE.format(url=f"sqlite:///{folder}/text.sqlite") + store,
        "no MariaDB there": _DATABASE.format(url=_refused_url("mysql")) + "max_retries = 0\n" + store,
        "no PostgreSQL there": _DATABASE.format(url=_refused_url("postgresql")) + "max_retries = 0\n" + store,
    }
    found = {"absent": folder / "absent.conf", "a folder": folder, "unreadable": Path("/proc/self/mem")}
    for number, (what, text) in enumerate(texts.items()):
        found[what] = folder / f"{number}.conf"
        found[what].write_text(text)
    found["not text"] = folder / "binary.conf"
    found["not text"].write_bytes(b"\xff\xfe\x00[DEFAULT]\n")
    return found


@on_each(CONFIGURED)
def test_configurations_that_do_not_work(leaf: Leaf, alone: Path) -> None:
    for what, file in _configurations(alone).items():
        result = call(leaf.chain[0].info_name or "", leaf.arguments(config_file=str(file)))
        assert_told(result, what, diagnosis=leaf.path in _DIAGNOSES)
        assert "word" not in result.output, f"{what}: the database's password is shown"


@on_each(WITH_DATA)
def test_data_that_is_not_there(leaf: Leaf, alone: Path) -> None:
    (alone / "file").write_text("")
    places = [alone / "file"] if leaf.path in _MAKES_DATA else [alone / "file", alone / "nowhere"]
    for place in places:
        assert_told(call("blick", leaf.arguments(data=str(place))), str(place))


@on_each(leaf for leaf in CONFIGURED if leaf.path not in _MAKES_DATA)
def test_without_any_configuration(leaf: Leaf, alone: Path) -> None:
    """And without a service in the usual place."""
    assert_told(call(leaf.chain[0].info_name or "", leaf.arguments()), leaf.path, diagnosis=leaf.path in _DIAGNOSES)


@on_each(LEAVES)
def test_options_that_there_are_not(leaf: Leaf, alone: Path) -> None:
    result = call(leaf.chain[0].info_name or "", [*leaf.arguments(), "--no-such-option"])
    assert result.exit_code == 2
    assert_told(result, leaf.path)


@on_each(LEAVES)
def test_values_of_the_wrong_kind(leaf: Leaf, alone: Path) -> None:
    for context in leaf.chain:
        for option in _options(context):
            if not isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType, click.Choice)):
                continue
            name = option.opts[0].lstrip("-").replace("-", "_")
            result = call(leaf.chain[0].info_name or "", leaf.arguments(**{name: "wrong"}))
            assert result.exit_code == 2, option.opts
            assert_told(result, str(option.opts))


@on_each(leaf for leaf in LEAVES if leaf.is_in_need)
def test_arguments_that_are_missing(leaf: Leaf, alone: Path) -> None:
    names = [context.info_name or "" for context in leaf.chain[1:]]
    result = call(leaf.chain[0].info_name or "", names)
    assert result.exit_code == 2
    assert_told(result, leaf.path)


@pytest.mark.parametrize(
    ("content", "code"), [(None, 2), (b"", 1), (b"\xff\xfe\xfd" * 9, 1), (b"x" * 100_000, 1)], ids=str
)
def test_password_files(alone: Path, content: bytes | None, code: int) -> None:
    if content is not None:
        (alone / "password").write_bytes(content)
    result = call("blick", ["user", "create", "somebody", "--password-file", "password"])
    assert result.exit_code == code
    assert_told(result, "a password")


@pytest.mark.parametrize("place", ["no/such/folder/sample.conf", "."])
def test_places_that_cannot_be_written(alone: Path, place: str) -> None:
    assert_told(call("blick", ["config", "sample", "--output", place]), place)
