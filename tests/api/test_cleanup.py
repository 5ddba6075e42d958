"""What a process leaves behind when it dies in the middle of an upload (spec: addendum; design: crash safety)."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from blick.db import uploads
from blick.db.tables import location_deletes
from blick.db.uploads import Lease
from blick.ops import cleanup
from blick.stores.file_partial import partial_name
from tests.support.databases import on_every_engine
from tests.support.service import OCTETS, Service

pytestmark = on_every_engine

FAR_MS = 2**52


async def broken_off(
    service: Service, holder: str, expires_at_ms: int = FAR_MS, store: str = "file", committed: bool = False
) -> tuple[str, Lease]:
    """An image as an upload leaves it whose process was killed, and the lease of that upload."""
    image_id = (await service.create())["id"]
    lease = Lease(image_id, service.services.new_token(), holder, store, expires_at_ms)
    await service.services.database.write(uploads.begin, lease, service.services.now())
    folder = Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])
    (folder / (image_id if committed else partial_name(image_id))).write_bytes(b"half of it")
    return image_id, lease


def dead(service: Service) -> str:
    """The name of a process of this machine that ran once."""
    machine, space, pid, _ = service.services.holder.rsplit("/", 3)
    return "/".join((machine, space, pid, "1"))


@pytest.mark.parametrize("committed", [False, True])
async def test_a_dead_process_is_cleaned_up_behind(service: Service, committed: bool) -> None:
    """Also where it died between making the object visible and recording it."""
    image_id, _ = await broken_off(service, dead(service), committed=committed)
    assert await cleanup.take_over_dead_uploads(service.services) == 1
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    assert service.stored_files == []
    assert await cleanup.take_over_dead_uploads(service.services) == 0
    path = f"/v2/images/{image_id}/file"
    assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 204


async def test_a_process_elsewhere_is_given_its_time(service: Service) -> None:
    image_id, lease = await broken_off(service, "another-machine/space/1/1")
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "saving"
    assert len(service.stored_files) == 1
    await service.services.database.write(uploads.renew, (lease.token,), 0)
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "queued"
    assert service.stored_files == []


async def test_a_running_upload_is_left_alone_and_renewed(service: Service) -> None:
    image_id, lease = await broken_off(service, service.services.holder, expires_at_ms=0)
    service.services.running_uploads.add(lease.token)
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "saving"
    [renewed] = await service.services.database.read(uploads.all_leases)
    assert renewed.token == lease.token
    assert renewed.expires_at_ms > service.services.now_ms()


async def test_an_image_deleted_meanwhile_stays_deleted(service: Service) -> None:
    image_id, _ = await broken_off(service, dead(service))
    assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    await cleanup.one_round(service.services)
    assert (await service.call("admin", "GET", f"/v2/images/{image_id}")).status_code == 404
    assert service.stored_files == []
    assert await service.services.database.read(uploads.all_leases) == []


async def test_a_store_that_is_not_configured_any_more(service: Service) -> None:
    image_id, _ = await broken_off(service, dead(service), store="of-old")
    await cleanup.one_round(service.services)
    assert (await service.show(image_id))["status"] == "queued"


async def test_new_data_waits_for_the_cleaning_up(service: Service) -> None:
    image_id, _ = await broken_off(service, "another-machine/space/1/1")
    path = f"/v2/images/{image_id}/file"
    assert (await service.call("owner", "PUT", path, content=b"data", headers=OCTETS)).status_code == 409
    assert (await service.call("owner", "GET", path)).status_code == 204


async def test_no_unforeseen_error_ends_the_housekeeping(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    def spoil(connection: Connection) -> None:
        values = {"image_id": "x", "uri": "file:///x", "meta_data": "no JSON", "attempts": 1, "not_before_ms": 0}
        connection.execute(insert(location_deletes), values)

    await service.services.database.write(spoil)
    task = asyncio.create_task(cleanup.delete_forever(service.services))
    try:
        while "removing data of deleted images failed and will be tried again" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
