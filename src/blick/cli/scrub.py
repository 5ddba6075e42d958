"""`glance-scrubber`, and the same as `blick scrub` (spec: commands; docs: deleting).

An expected failure is `ERROR: …` on stderr and exit code 1. Data that could not be removed is none: it is tried again.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.boot import services_of
from blick.cli.database import configured, database_options
from blick.cli.glance_flags import chosen, glance_flags, settings_for
from blick.cli.main import run
from blick.conf.log import set_up_logging
from blick.conf.settings import Settings
from blick.model.errors import StartRefused
from blick.ops import scrub as ops
from blick.ops.services import Services

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def _scrub_options(command: F) -> F:
    command = click.option(
        "--restore",
        metavar="IMAGE_ID",
        help="Make this image active again, whose deletion was delayed; do nothing else.",
    )(command)
    return click.option("--daemon/--nodaemon", "-D", default=None, help="Go on until stopped.")(command)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@glance_flags
@_scrub_options
def glance_scrubber(**flags: Any) -> None:
    """Remove the data of images whose deletion was delayed."""
    _scrub(settings_for("glance-scrubber", chosen(**flags)), lambda _: None)


@click.command()
@database_options
@_scrub_options
def scrub(data: Path, config_files: tuple[Path, ...], daemon: bool | None, restore: str | None) -> None:
    """Remove the data of images whose deletion was delayed, and whatever else waits for its removal.

    May run beside the service, and several times at once.
    """
    settings = configured(data, config_files)
    set_up_logging(settings.log)
    wanted = replace(
        settings.scrub,
        daemon=settings.scrub.daemon if daemon is None else daemon,
        restore=restore or settings.scrub.restore,
    )
    _scrub(replace(settings, scrub=wanted), click.echo)


def _scrub(settings: Settings, tell: Callable[[str], None]) -> None:
    wanted = settings.scrub
    if wanted.restore is not None and wanted.daemon:
        raise StartRefused(
            "The restore and daemon options should not be set together. Please use either of them in one request."
        )
    if wanted.restore is not None:
        asyncio.run(_with_services(settings, lambda services: ops.restore(services, str(wanted.restore))))
        tell(f"Image {wanted.restore} is active again.")
    elif wanted.daemon:
        asyncio.run(_until_stopped(_with_services(settings, ops.run_forever)))
    else:
        worked = asyncio.run(_with_services(settings, lambda services: ops.run_once(services, put_off_too=True)))
        tell(f"Removed: {worked.removed}. To be tried again: {worked.failed}.")


async def _with_services(settings: Settings, work: Callable[[Services], Awaitable[T]]) -> T:
    async with services_of(settings) as services:
        return await work(services)


async def _until_stopped(work: Awaitable[None]) -> None:
    """Do the work until SIGTERM or SIGINT; what it is doing then is cut short, and finished by whoever is next.

    A store's call that cannot be cut short is awaited; a second signal ends the process in the middle of it.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
        task.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def main() -> None:
    """The `glance-scrubber` of init scripts and timers."""
    run(glance_scrubber, prog_name="glance-scrubber")
