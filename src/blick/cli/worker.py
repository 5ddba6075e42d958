"""`blick worker`: does jobs and housekeeping beside the service, or in its stead; any number, on any host."""

import asyncio
import contextlib
import signal
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from blick.boot import services_of
from blick.cli.database import configured, database_options
from blick.conf.log import set_up_logging
from blick.conf.settings import Settings
from blick.worker import Background, hold_one_heap

# A terminal that goes away, or a reload that nobody has configured, must not leave jobs to their time-outs.
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@click.command()
@click.option(
    "--at-once", type=click.IntRange(1, 1000), help="So many jobs at once. [default: [taskflow_executor] max_workers]"
)
@database_options
def worker(at_once: int | None, data: Path, config_files: tuple[Path, ...]) -> None:
    """Do jobs: imports, finished uploads, and whatever else goes on in the background.

    Give it the configuration file of the service, on any host that reaches its database and its stores. Runs until
    SIGTERM or SIGINT; what it is doing then is given back, and another worker goes on with it. A second signal ends it
    at once.
    """
    settings = configured(data, config_files)
    if at_once is not None:
        settings = replace(settings, imports=replace(settings.imports, max_workers=at_once))
    set_up_logging(settings.log)
    hold_one_heap()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings))


async def _work(settings: Settings) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
        told.set()

    async with services_of(settings) as services:
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, stop)
        async with contextlib.AsyncExitStack() as stack:
            background = Background(services, does_jobs=True)
            stack.push_async_callback(background.end)
            click.echo(f"Working, at most {settings.imports.max_workers} jobs at once.", err=True)
            await told.wait()
    click.echo("Stopped. What was not finished is given back.", err=True)
