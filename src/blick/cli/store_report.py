"""What a check of stores has found, printed: a line per store, then a line per finding, however many there are."""

from collections.abc import AsyncIterator
from typing import Any

import click

from blick.cli.output import print_records
from blick.db.store_ledger import (
    DAMAGES,
    FOREIGN,
    HOMELESS,
    MISMATCHED,
    MISSING,
    ORPHANED,
    UNREADABLE,
    Finding,
    Ledger,
)
from blick.model.location import without_secrets
from blick.ops.store_tally import PAGE, Check, Tally

_KINDS = (*DAMAGES, ORPHANED, UNREADABLE, HOMELESS, FOREIGN)
_PROBLEMS = (*DAMAGES, ORPHANED)
_STORE_COLUMNS = ("store", "checked", "missing", "mismatched", "orphaned", "foreign", "repaired", "remarks")
_FINDING_COLUMNS = ("store", "finding", "image", "location", "detail", "outcome")
# More lines than this nobody reads, and a table needs all of its lines in memory.
_MOST_LINES = 1000

CLEAN, LEFT, UNCHECKED = 0, 1, 2


async def exit_status(check: Check) -> int:
    """0: all is well, or was repaired. 1: something is left. 2: something could not be checked."""
    if check.homeless or any(tally.trouble is not None or tally.unreadable for tally in check.tallies.values()):
        return UNCHECKED
    for store_id in check.tallies:
        counts = await check.note(Ledger.counts, store_id)
        if any(counts.get((kind, False), 0) for kind in _PROBLEMS):
            return LEFT
    return CLEAN


async def print_report(check: Check, format_name: str) -> None:
    """Print it on stdout."""
    stores = [await _summary(check, tally) for tally in check.tallies.values()]
    if format_name == "json":
        await _print_json(check, stores)
    elif format_name == "yaml":
        await _print_yaml(check, stores)
    else:
        await _print_tables(check, stores)


async def _summary(check: Check, tally: Tally) -> dict[str, Any]:
    counts = await check.note(Ledger.counts, tally.id)
    return {
        "store": tally.id,
        "checked": tally.locations,
        "missing": counts.get((MISSING, False), 0),
        "mismatched": sum(counts.get((kind, False), 0) for kind in MISMATCHED),
        "orphaned": counts.get((ORPHANED, False), 0),
        "foreign": tally.foreign,
        "repaired": sum(count for (_, repaired), count in counts.items() if repaired),
        "objects": tally.objects if tally.is_listed else None,
        "unreadable": tally.unreadable,
        "unhashed": tally.unhashed,
        "waiting": tally.waiting,
        "busy": tally.busy,
        "young": tally.young,
        "trouble": tally.trouble,
    }


def _remarks(store: dict[str, Any]) -> str:
    """What is worth saying, in words."""
    said = [store["trouble"]] if store["trouble"] else []
    for name, words in (
        ("unreadable", "could not be read"),
        ("unhashed", "without a recorded hash"),
        ("waiting", "waiting for removal"),
        ("busy", "being worked on"),
        ("young", "unknown, but within the grace time"),
    ):
        if store[name]:
            said.append(f"{store[name]} {words}")
    return "; ".join(said)


async def _print_tables(check: Check, stores: list[dict[str, Any]]) -> None:
    print_records([{**store, "remarks": _remarks(store)} for store in stores], _STORE_COLUMNS, "table")
    if check.homeless:
        click.echo(f"{check.homeless} location(s) in no configured store.")
    lines: list[dict[str, Any]] = []
    more = False
    async for finding in _findings(check):
        if len(lines) == _MOST_LINES:
            more = True
            break
        lines.append(_record(finding))
    if lines:
        print_records(lines, _FINDING_COLUMNS, "table")
    if more:
        click.echo(
            f"There are more than these {_MOST_LINES} findings: --format json or yaml prints them all.", err=True
        )


async def _print_json(check: Check, stores: list[dict[str, Any]]) -> None:
    import msgspec

    head = msgspec.json.encode({"status": await exit_status(check), "homeless": check.homeless, "stores": stores})
    click.echo(head[:-1].decode() + ',\n"findings": [', nl=False)
    separator = "\n"
    async for finding in _findings(check):
        click.echo(separator + msgspec.json.encode(_record(finding)).decode(), nl=False)
        separator = ",\n"
    click.echo("\n]}")


async def _print_yaml(check: Check, stores: list[dict[str, Any]]) -> None:
    import msgspec

    head = {"status": await exit_status(check), "homeless": check.homeless, "stores": stores}
    click.echo(msgspec.yaml.encode(head).decode(), nl=False)
    empty = True
    async for finding in _findings(check):
        if empty:
            click.echo("findings:")
        click.echo(msgspec.yaml.encode([_record(finding)]).decode(), nl=False)
        empty = False
    if empty:
        click.echo("findings: []")


async def _findings(check: Check) -> AsyncIterator[Finding]:
    after_id = 0
    while page := await check.note(Ledger.findings, _KINDS, after_id, PAGE):
        for finding in page:
            yield finding
        after_id = page[-1].id


def _record(finding: Finding) -> dict[str, Any]:
    return {
        "store": finding.store,
        "finding": finding.kind,
        "image": finding.key,
        "location": None if finding.uri is None else without_secrets(finding.uri),
        "detail": finding.detail,
        "outcome": finding.outcome,
    }
