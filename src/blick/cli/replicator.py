"""`glance-replicator`, and the same verbs as `blick replicate` (spec: commands; docs: commands).

The verbs are in `blick.cli.replication`. Here: what an operator writes, and what is said and returned.
"""

import logging
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.cli.glance_flags import chosen, glance_flags, settings_without_files
from blick.cli.main import run
from blick.cli.output import format_option, print_records
from blick.cli.replication import compare as comparing
from blick.cli.replication import copy as copying
from blick.cli.replication import dump as dumping
from blick.cli.replication.address import service_url
from blick.cli.replication.folder import DumpFolder
from blick.cli.replication.login import surroundings, tokens_for
from blick.cli.replication.service import ImageService
from blick.cli.replication.session import Choices, Session
from blick.conf.settings import ReplicationSettings
from blick.model.errors import Invalid, StartRefused

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger(__name__)

_INTERRUPTED = 130
_NOT_REPLICATED = "created_at date deleted_at location updated_at"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True)
class Connecting:
    """How to reach services, on either side."""

    settings: ReplicationSettings
    token: str | None = None
    ca_file: Path | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """One call: how to connect, what to do there, and how to tell of it."""

    connecting: Connecting
    session: Session
    exit_code: bool = False
    format_name: str | None = None


_FLAGS = (
    click.option(
        "--chunksize",
        "-c",
        "chunk_bytes",
        type=click.IntRange(1, 1 << 30),
        default=65536,
        show_default=True,
        help="Bytes of data that are passed on at once.",
    ),
    click.option(
        "--dontreplicate",
        "-D",
        "left_out",
        metavar="FIELDS",
        default=_NOT_REPLICATED,
        show_default=True,
        help="Fields that are neither copied nor compared, in one argument with spaces between them.",
    ),
    click.option("--metaonly", "-m", "only_metadata", is_flag=True, help="Only the records of images, not their data."),
    click.option("--token", "-t", help="The token for both sides. [default: log in by OS_AUTH_URL and the like]"),
    click.option(
        "--ca-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="OS_CACERT",
        help="Authorities to trust with https, instead of the system's.",
    ),
    click.option("--insecure", is_flag=True, help="Trust whoever answers with https."),
)


def _copy_flags(command: F) -> F:
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


_exit_code_flag = click.option(
    "--exit-code", "-e", is_flag=True, help="compare: exit with 1 if anything differs. Without it that is 0."
)


def _size(wish: Wish, server: str) -> None:
    with _service(wish, server, "source") as source:
        active = [int(image.get("size") or 0) for image in source.images() if image.get("status") == "active"]
    click.echo(f"Total size is {sum(active)} bytes ({_readable(sum(active))}) across {len(active)} images")


def _dump(wish: Wish, server: str, path: str) -> None:
    folder = DumpFolder(Path(path))
    with _service(wish, server, "source") as source:
        dumping.dump(source, folder, wish.session)
    _end(wish, dumping.KINDS)


def _load(wish: Wish, server: str, path: str) -> None:
    folder = DumpFolder(Path(path))
    with _service(wish, server, "target") as target:
        copying.load(target, folder, wish.session)
    _end(wish, copying.KINDS)


def _livecopy(wish: Wish, from_server: str, to_server: str) -> None:
    with _service(wish, from_server, "source") as source, _service(wish, to_server, "target") as target:
        copying.livecopy(source, target, wish.session)
    _end(wish, copying.KINDS)


def _compare(wish: Wish, from_server: str, to_server: str) -> None:
    found = []
    with _service(wish, from_server, "source") as source, _service(wish, to_server, "target") as target:
        for finding in comparing.compare(source, target, wish.session):
            found.append(finding)
            if wish.format_name is None:
                wish.session.say(str(finding))
    if wish.format_name is not None:
        records = [
            {"image": one.image, "field": one.field, "source": one.source, "target": one.target} for one in found
        ]
        print_records(records, comparing.COLUMNS, wish.format_name)
    images = len({finding.image for finding in found})
    wish.session.say(f"{images} of {wish.session.counts['compared']} images differ.")
    if wish.session.has_failed or (wish.exit_code and found):
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class _Verb:
    arguments: tuple[str, ...]
    does: Callable[..., None]
    help: str


_VERBS = {
    "compare": _Verb(
        ("FROM", "TO"),
        _compare,
        "Tell which images of FROM are missing in TO or are different there. Changes nothing.",
    ),
    "dump": _Verb(
        ("SERVER", "PATH"),
        _dump,
        "Write the images of SERVER into the folder PATH: <id> holds the record, <id>.img the data. What is there "
        "already is left as it is, what was begun is completed.",
    ),
    "livecopy": _Verb(
        ("FROM", "TO"),
        _livecopy,
        "Copy the images of FROM into TO, under the same ids. Images that TO has already get the record that FROM has.",
    ),
    "load": _Verb(
        ("SERVER", "PATH"),
        _load,
        "Copy the images that `dump` wrote into the folder PATH into SERVER, under the same ids.",
    ),
    "size": _Verb(("SERVER",), _size, "Tell how much data the active images of SERVER have."),
}


_HELP = "\n\n".join(
    (
        "Copy images between image services.",
        "COMMAND is one of these. Services are named by host:port, or by a URL.",
        *(f"{name} {' '.join(verb.arguments)}: {verb.help}" for name, verb in _VERBS.items()),
        "help [COMMAND]: Show this, or what a command's arguments are.",
    )
)


@click.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@glance_flags
@_copy_flags
@_exit_code_flag
@click.argument("command", required=False, shell_complete=lambda _ctx, _parameter, begun: _named(begun))
@click.argument("arguments", nargs=-1)
@click.pass_context
def glance_replicator(
    ctx: click.Context,
    /,
    command: str | None,
    arguments: tuple[str, ...],
    chunk_bytes: int,
    left_out: str,
    only_metadata: bool,
    token: str | None,
    ca_file: Path | None,
    insecure: bool,
    exit_code: bool,
    **flags: Any,
) -> None:
    """Do what one of `_VERBS` does, with Glance's way of writing it."""
    if command in (None, "help"):
        click.echo(_help_text(ctx, arguments[0] if arguments else None))
        ctx.exit(0 if command else 1)
    settings = settings_without_files("glance-replicator", chosen(**flags)).replication
    session = Session(Choices(chunk_bytes, frozenset(left_out.split()), only_metadata), _log.info, _log.warning)
    wish = Wish(Connecting(settings, token, ca_file, insecure), session, exit_code)
    verb = _verb(str(command))
    if len(arguments) != len(verb.arguments):
        _log.error("%s %s\n%s", command, " ".join(verb.arguments), verb.help)
        many = "argument" if len(verb.arguments) == 1 else "arguments"
        raise Invalid(f"{command} takes {len(verb.arguments)} {many}: {' '.join(verb.arguments)}.")
    try:
        _do(verb, wish, arguments)
    except Invalid:
        _log.error("%s %s\n%s", command, " ".join(verb.arguments), verb.help)
        raise


def _help_text(ctx: click.Context, command: str | None) -> str:
    if command is None:
        return ctx.get_help()
    verb = _verb(command)
    return f"{ctx.info_name} {command} {' '.join(verb.arguments)}\n\n{verb.help}"


def _named(begun: str) -> list[str]:
    return [name for name in (*_VERBS, "help") if name.startswith(begun)]


def _verb(name: str) -> _Verb:
    if name not in _VERBS:
        raise Invalid(f"Unknown command: {name}. There are {', '.join(_VERBS)} and help.")
    return _VERBS[name]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def replicate() -> None:
    """Copy images between image services, or into a folder and back.

    Services are named by host:port, or by a URL. Who to be there is told by --token, or by the variables OS_AUTH_URL,
    OS_USERNAME, OS_PASSWORD and so on; SOURCE_OS_… and TARGET_OS_… where the two sides are different clouds.
    """


def _subcommand(name: str, verb: _Verb) -> click.Command:
    def call(
        chunk_bytes: int,
        left_out: str,
        only_metadata: bool,
        token: str | None,
        ca_file: Path | None,
        insecure: bool,
        exit_code: bool = False,
        format_name: str | None = None,
        **arguments: str,
    ) -> None:
        choices = Choices(chunk_bytes, frozenset(left_out.split()), only_metadata)
        session = Session(choices, lambda text: click.echo(text, err=True), lambda text: click.echo(text, err=True))
        connecting = Connecting(ReplicationSettings(), token, ca_file, insecure)
        _do(verb, Wish(connecting, session, exit_code, format_name), tuple(arguments[one] for one in names))

    names = tuple(one.lower() for one in verb.arguments)
    made: Callable[..., None] = call
    for one, metavar in reversed(tuple(zip(names, verb.arguments, strict=True))):
        made = click.argument(one, metavar=metavar)(made)
    made = _copy_flags(made)
    if name == "compare":
        made = format_option(_exit_code_flag(made))
    return click.command(name, help=verb.help)(made)


for _name, _one in _VERBS.items():
    replicate.add_command(_subcommand(_name, _one))


def _do(verb: _Verb, wish: Wish, arguments: tuple[str, ...]) -> None:
    try:
        verb.does(wish, *arguments)
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on from here.", err=True)
        sys.exit(_INTERRUPTED)


def _end(wish: Wish, kinds: tuple[str, ...]) -> None:
    click.echo(wish.session.summary(kinds))
    if wish.session.has_failed:
        sys.exit(1)


@contextmanager
def _service(wish: Wish, text: str, side: str) -> Iterator[ImageService]:
    """The image service of one side; its connections are closed afterwards. Raises Invalid, StartRefused."""
    import urllib3

    connecting = wish.connecting
    url = service_url(text)
    configured = {"source": connecting.settings.source_token, "target": connecting.settings.target_token}[side]
    if connecting.insecure:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if connecting.ca_file:
        _require_certificates(connecting.ca_file)
    http = urllib3.PoolManager(
        cert_reqs="CERT_NONE" if connecting.insecure else "CERT_REQUIRED",
        ca_certs=str(connecting.ca_file) if connecting.ca_file else None,
    )
    try:
        tokens = tokens_for(connecting.token or configured, surroundings(os.environ, side), http)
        yield ImageService(url, tokens, http)
    except UnicodeError as error:
        raise StartRefused(f"{text}: {error}.") from error
    finally:
        http.clear()


def _require_certificates(file: Path) -> None:
    """Raises StartRefused if it has none: each request would tell that as if it were the server's fault."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError as error:
        raise StartRefused(f"{file}: there is no certificate in it.") from error
    except OSError as error:
        raise StartRefused(f"{file} cannot be read: {error.strerror}.") from error


def _readable(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"


def main() -> None:
    """The `glance-replicator` of operators' scripts."""
    run(glance_replicator, prog_name="glance-replicator")
