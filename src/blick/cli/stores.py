"""`blick stores`: how stores are, what waits for removal from them, and whether they hold what the database says."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.boot import services_of
from blick.cli.database import configured, database_options
from blick.cli.output import format_option, print_records
from blick.cli.store_progress import watching
from blick.cli.store_report import exit_status, print_report
from blick.conf.settings import Settings
from blick.db import outbox
from blick.db.outbox import LocationDelete
from blick.model.errors import BlickError, DataNotFound, StoreUnavailable
from blick.ops import store_check, store_repair
from blick.ops.services import Services
from blick.ops.store_status import statuses
from blick.ops.store_tally import Wanted

T = TypeVar("T")

# How long a store may take to give a sign of life.
_PATIENCE_S = 5.0
_UNCHECKED = 2
_INTERRUPTED = 130
# Nova puts snapshots into an RBD pool itself and registers them when they are complete; a Glance that still runs on the
# same database takes no leases; clocks differ. A day covers all of them, and an orphan costs nothing but its space.
_GRACE_S = 86_400


@click.group()
def stores() -> None:
    """Look after the stores that hold images' data."""


@stores.command("list")
@database_options
@format_option
def list_(data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """List the stores, and whether each of them answers."""

    async def ask(services: Services) -> None:
        found = await statuses(services, _PATIENCE_S)
        records = [
            {
                "id": one.id,
                "type": one.type,
                "default": one.is_default,
                "weight": one.weight,
                "status": one.status,
                "read-only": one.is_read_only,
                "reason": one.reason,
            }
            for one in found
        ]
        print_records(records, ("id", "type", "default", "weight", "status", "read-only", "reason"), format_name)

    _run(configured(data, config_files), ask)


@stores.command()
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Show so many, oldest first.")
@database_options
@format_option
def deletes(limit: int, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """List the data of deleted images that waits for its removal, with the reason where that failed."""

    async def ask(services: Services) -> None:
        entries = await services.database.read(outbox.entries, 0, limit + 1)
        records = [_waiting(services, entry) for entry in entries[:limit]]
        print_records(records, ("image", "store", "attempts", "next try", "last error"), format_name)
        if len(entries) > limit:
            click.echo(f"There are more than these {limit}: see --limit.", err=True)

    _run(configured(data, config_files), ask)


def _waiting(services: Services, entry: LocationDelete) -> dict[str, Any]:
    try:
        store = services.stores.for_location(entry.location.uri, entry.location.metadata).name
    except (DataNotFound, StoreUnavailable) as error:
        store = error.store
    return {
        "image": entry.image_id,
        "store": store,
        "attempts": entry.attempts,
        "next try": datetime.fromtimestamp(entry.not_before_ms / 1000, UTC).isoformat(timespec="seconds"),
        "last error": entry.last_error,
    }


@stores.command()
@click.option("--store", "store_ids", metavar="ID", multiple=True, help="Only this store; repeatable.")
@click.option("--verify", is_flag=True, help="Read all data and compare its hashes. Takes as long as that takes.")
@click.option("--repair", is_flag=True, help="Write bad and missing copies anew from good ones, remove orphaned data.")
@click.option(
    "--grace",
    "grace_s",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=_GRACE_S,
    show_default=True,
    help="What is in a store for less than this is not taken to be orphaned.",
)
@click.option(
    "--force", is_flag=True, help="With --repair: remove orphaned data even where it is most of what there is."
)
@database_options
@format_option
def check(
    store_ids: tuple[str, ...],
    verify: bool,
    repair: bool,
    grace_s: float,
    force: bool,
    data: Path,
    config_files: tuple[Path, ...],
    format_name: str,
) -> None:
    """Compare the database with what the stores hold, both ways; changes nothing without --repair.

    May run while the service does. Exits with 0 if all is well (or repaired), with 1 if something is left, with 2 if
    something could not be checked.
    """
    wanted = Wanted(store_ids, verify, grace_s)

    async def compare(services: Services) -> int:
        with watching() as watcher:
            if repair:
                await store_repair.finish_broken(services)
            async with store_check.begun(services, wanted, watcher) as begun:
                await store_check.compare(begun)
                if repair:
                    await store_repair.repair(begun, force=force)
                watcher.end()
                await print_report(begun, format_name)
                return await exit_status(begun)

    try:
        status = _run(configured(data, config_files), compare)
    except BlickError as error:
        # Not 1: that says that everything was checked.
        click.echo(f"ERROR: {error}", err=True)
        status = _UNCHECKED
    except KeyboardInterrupt:
        click.echo("Interrupted. What was under way was undone or finished; nothing else has changed.", err=True)
        status = _INTERRUPTED
    sys.exit(status)


def _run(settings: Settings, work: Callable[[Services], Awaitable[T]]) -> T:
    """Do the work with the services of these settings. Raises what it raises."""

    async def run() -> T:
        async with services_of(settings) as services:
            return await work(services)

    return asyncio.run(run())
