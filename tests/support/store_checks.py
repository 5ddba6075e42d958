"""Checking stores from a test: what was found, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blick.cli.store_progress import Quiet
from blick.cli.store_report import exit_status
from blick.conf.settings import Settings, StoreSettings
from blick.db import images
from blick.db.store_ledger import (
    FOREIGN,
    HOMELESS,
    MISSING,
    ORPHANED,
    UNREADABLE,
    WRONG_DATA,
    WRONG_SIZE,
    Finding,
    Ledger,
)
from blick.model.blob import Location
from blick.ops import store_check, store_repair
from blick.ops.services import Services
from blick.ops.store_tally import Tally, Wanted
from tests.support.service import Service

KINDS = (MISSING, WRONG_SIZE, WRONG_DATA, ORPHANED, FOREIGN, UNREADABLE, HOMELESS)


@dataclass(frozen=True)
class Result:
    """What a check came to."""

    status: int
    findings: Sequence[Finding]
    tallies: dict[str, Tally]
    homeless: int

    @property
    def seen(self) -> list[tuple[str, str, str]]:
        """Store, kind and key of each finding."""
        return sorted((found.store, found.kind, found.key) for found in self.findings)

    @property
    def outcomes(self) -> list[str | None]:
        return [found.outcome for found in self.findings]


async def checked(
    services: Services,
    *store_ids: str,
    repair: bool = False,
    verify: bool = False,
    grace_s: float = 0,
    force: bool = True,
) -> Result:
    """As `blick stores check` does it; everything counts as old enough unless `grace_s` says something else."""
    if repair:
        await store_repair.finish_broken(services)
    async with store_check.begun(services, Wanted(store_ids, verify, grace_s), Quiet()) as check:
        await store_check.compare(check)
        if repair:
            await store_repair.repair(check, force=force)
        findings = await check.note(Ledger.findings, KINDS, 0, 10_000)
        return Result(await exit_status(check), findings, dict(check.tallies), check.homeless)


def with_second_store(settings: Settings, folder: Path) -> Settings:
    """`settings` with a second file store, named `second`, in `folder`."""
    second = StoreSettings("second", "file", {"filesystem_store_datadir": str(folder)})
    return replace(
        settings, stores=replace(settings.stores, stores=(*settings.stores.stores, second), multi_store=True)
    )


async def put_copy(services: Services, store_id: str, image_id: str, data: bytes) -> Location:
    """`data` in the store under the image's id; no record knows."""
    async with services.stores.by_id(store_id).writer(image_id, len(data)) as writer:
        await writer.write(memoryview(data))
        return await writer.commit()


async def record_copy(service: Service, store_id: str, image_id: str, data: bytes) -> Location:
    """One more copy of an image, recorded as such."""
    location = await put_copy(service.services, store_id, image_id, data)
    await record_location(service, image_id, location.uri, store_id)
    return location


async def record_location(service: Service, image_id: str, uri: str, store_id: str) -> None:
    """One more location of an image, whatever lies there."""
    await service.services.database.write(
        images.add_location, image_id, uri, {"store": store_id}, service.services.now()
    )
