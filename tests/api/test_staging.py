"""PUT /v2/images/{image_id}/stage, and what becomes of staged data (spec: images-api §10.3, import-and-tasks §7)."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Executable, Update, func, select, update

from blick.conf.settings import QuotaSettings, Settings
from blick.db import import_lock, jobs, tables, tasks, uploads
from blick.db import staging as db_staging
from blick.db.jobs import NewJob
from blick.db.staging import StagedRow
from blick.db.store_ledger import ORPHANED
from blick.db.uploads import Lease
from blick.http.app import App
from blick.model.blob import Location
from blick.model.errors import Gone
from blick.model.image import UPLOADING
from blick.model.task import Task
from blick.ops import cleanup, staging, staging_sweep
from blick.stores.file.partial import key_of_partial, partial_name
from tests.support.callers import HeaderIdentity
from tests.support.databases import on_every_engine
from tests.support.limits import FixedLimits
from tests.support.service import OCTETS, PATCH_2_1, Service
from tests.support.store_checks import checked

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MIB = 1 << 20
DATA = bytes(range(256)) * 20_000  # more than one buffer
PLAIN = {"accept": "text/plain"}


@pytest.fixture(params=["folder", "store"])
def where(request: pytest.FixtureRequest) -> str:
    """Staged data lies in a folder of the node's, or in the store that has the images."""
    return str(request.param)


@pytest.fixture
def settings(settings: Settings, where: str) -> Settings:
    if where == "folder":
        return settings
    stores = replace(settings.stores, multi_store=True)
    return replace(settings, stores=stores, imports=replace(settings.imports, staging_store="file"))


@pytest.fixture
def in_folder(where: str) -> None:
    """For tests of what is true of a folder only."""
    if where != "folder":
        pytest.skip("only where data is staged in a folder")


@pytest.fixture
def in_store(where: str) -> None:
    """For tests of what is true of a store only."""
    if where != "store":
        pytest.skip("only where data is staged in a store")


async def stage(service: Service, image_id: str, content: Any, who: str = "owner", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(who, "PUT", f"/v2/images/{image_id}/stage", content=content, headers=OCTETS | named)


async def staged(service: Service, content: Any = b"data", **body: Any) -> str:
    """The id of a new image with staged data."""
    image_id = str((await service.create(**body))["id"])
    response = await stage(service, image_id, content)
    assert response.status_code == 204, response.text
    return image_id


async def staged_bytes(service: Service, image_id: str) -> bytes | None:
    """What an import would find."""
    found = await staging.find(service.services, image_id)
    if found is None:
        return None
    store = staging.store_of(service.services, found.location)
    async with aclosing(store.read(found.location)) as pieces:
        data = b"".join([bytes(piece) async for piece in pieces])
    assert len(data) == found.size_bytes
    return data


def folder(service: Service) -> Path:
    return service.services.settings.imports.staging_dir


def images_folder(service: Service) -> Path:
    return Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])


def files(service: Service) -> list[str]:
    """Names of everything that lies where data is staged; images have none in these tests."""
    if service.services.staging.is_shared:
        return service.stored_files
    return sorted(entry.name for entry in folder(service).iterdir()) if folder(service).exists() else []


def count(service: Service, table: Any) -> int:
    with service.services.database.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


async def execute(service: Service, statement: Executable) -> None:
    await service.services.database.write(lambda connection: connection.execute(statement).rowcount)


def of(image_id: str) -> Update:
    """A change of the image's own row."""
    return update(tables.images).where(tables.images.c.id == image_id)


async def require_untouched(service: Service, image_id: str) -> None:
    """Queued as if nothing had ever been sent, and nothing left."""
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    assert files(service) == []
    assert await staged_bytes(service, image_id) is None
    assert (count(service, tables.leases), count(service, tables.staged_data)) == (0, 0)


async def in_pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def untouched_body() -> AsyncIterator[bytes]:
    """A body that must not be asked for."""
    raise AssertionError("the data was read before the refusal")
    yield b""


# Staging


@pytest.mark.parametrize("chunked", [False, True])
async def test_stage(service: Service, chunked: bool) -> None:
    image = await service.create()
    response = await stage(service, image["id"], in_pieces(DATA) if chunked else DATA)
    assert response.status_code == 204
    assert response.headers["content-type"] == "text/html; charset=UTF-8"
    shown = await service.show(image["id"])
    expected = {
        "status": "uploading",
        "size": len(DATA),
        "virtual_size": None,
        "checksum": None,
        "os_hash_algo": None,
        "os_hash_value": None,
    }
    assert {name: shown[name] for name in expected} == expected
    assert [name for name in shown if name.startswith("os_glance")] == []
    assert await staged_bytes(service, image["id"]) == DATA
    assert count(service, tables.leases) == 0
    assert len(files(service)) == 1
    assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/file")).status_code == 204


async def test_the_file_is_named_like_the_image(service: Service, in_folder: None) -> None:
    image_id = await staged(service, DATA)
    assert (folder(service) / image_id).read_bytes() == DATA
    assert files(service) == [image_id]


async def test_no_object_of_a_store_is_named_like_an_image(service: Service, in_store: None) -> None:
    image_id = await staged(service, DATA)
    [name] = files(service)
    assert name != image_id
    assert await service.services.database.read(db_staging.needs, [name]) == db_staging.Needs(frozenset(), frozenset())


async def test_neither_formats_nor_content_matter_yet(service: Service) -> None:
    assert await staged(service, b"no qcow2", disk_format="qcow2")
    assert await staged(service, b"", disk_format=None, container_format=None)


async def test_nothing_at_all(service: Service) -> None:
    image_id = await staged(service, b"")
    assert (await service.show(image_id))["size"] == 0
    assert await staged_bytes(service, image_id) == b""


async def test_an_image_may_be_changed_meanwhile(service: Service) -> None:
    image_id = await staged(service)
    change = [{"op": "replace", "path": "/name", "value": "new"}]
    answer = await service.call("owner", "PATCH", f"/v2/images/{image_id}", json=change, headers=PATCH_2_1)
    assert answer.status_code == 200
    assert (await service.show(image_id))["status"] == "uploading"


@pytest.mark.parametrize("size", ["4", " 4 "])
async def test_the_announced_size_may_be_told_by_a_header(service: Service, size: str) -> None:
    image = await service.create()
    assert (await stage(service, image["id"], in_pieces(b"data"), x_openstack_image_size=size)).status_code == 204


async def test_the_stores_header_means_nothing(service: Service) -> None:
    image = await service.create()
    assert (await stage(service, image["id"], b"data", x_image_meta_store="nowhere")).status_code == 204


async def test_what_an_earlier_run_left_is_replaced(service: Service, in_folder: None) -> None:
    image = await service.create()
    (folder(service) / image["id"]).write_bytes(b"of old")
    (folder(service) / f".blick-{image['id']}.part").write_bytes(b"half of it")
    assert (await stage(service, image["id"], DATA)).status_code == 204
    assert (folder(service) / image["id"]).read_bytes() == DATA
    assert files(service) == [image["id"]]


async def test_a_folder_that_was_tidied_away_is_made_again(service: Service, in_folder: None) -> None:
    folder(service).rmdir()
    image_id = await staged(service, DATA)
    assert (folder(service) / image_id).read_bytes() == DATA


class TestNodes:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=replace(settings.imports, node_url="http://node-one:9292"))

    async def test_the_node_that_has_the_data_is_noted_and_not_shown(self, service: Service, where: str) -> None:
        image_id = await staged(service)
        table = tables.image_properties
        with service.services.database.engine.connect() as connection:
            noted = connection.execute(select(table.c.name, table.c.value)).all()
        assert noted == ([] if where == "store" else [("os_glance_stage_host", "http://node-one:9292")])
        assert "os_glance_stage_host" not in await service.show(image_id)
        assert "os_glance_stage_host" not in await service.show(image_id, "admin")


# Refusals


class TestOff:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, enabled_import_methods=("web-download",)))

    @pytest.mark.parametrize("headers", [OCTETS, {"content-type": "text/plain"}])
    async def test_not_available(self, service: Service, headers: dict[str, str]) -> None:
        path = f"/v2/images/{UNKNOWN}/stage"
        answer = await service.call("owner", "PUT", path, content=b"data", headers=headers | PLAIN)
        assert answer.status_code == 404
        assert "'glance-direct' method is not available at this site." in answer.text


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "", "application/octet"])
async def test_media_type(service: Service, content_type: str) -> None:
    headers = {"content-type": content_type}
    image = await service.create()
    for image_id in (image["id"], UNKNOWN):
        answer = await service.call("owner", "PUT", f"/v2/images/{image_id}/stage", content=b"x", headers=headers)
        assert answer.status_code == 415
    await require_untouched(service, image["id"])


@pytest.mark.parametrize("size", ["x", "-1", "", "1.5", "9" * 5000])
async def test_an_announced_size_that_is_none(service: Service, size: str) -> None:
    image = await service.create()
    assert (await stage(service, image["id"], b"data", x_openstack_image_size=size)).status_code == 400
    await require_untouched(service, image["id"])


@pytest.mark.parametrize("size", ["3", "5", "0"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_another_size_than_announced(service: Service, size: str, chunked: bool) -> None:
    image = await service.create()
    content: Any = in_pieces(b"data") if chunked else b"data"
    response = await stage(service, image["id"], content, x_openstack_image_size=size)
    assert response.status_code == 400
    assert "announced" in response.text
    await require_untouched(service, image["id"])
    assert (await stage(service, image["id"], b"data")).status_code == 204


async def test_unknown_image(service: Service) -> None:
    for image_id in (UNKNOWN, "x", "%00", "ä"):
        assert (await stage(service, image_id, b"data")).status_code in (400, 404)
    assert files(service) == []


@pytest.mark.parametrize(
    ("who", "visibility", "status"),
    [
        ("anonymous", "public", 401),
        ("other", "private", 404),
        ("stranger", "shared", 404),
        ("other", "public", 403),
        ("other", "community", 403),
        ("reader", "private", 403),
        ("roleless", "private", 404),
        ("service", "private", 404),
        ("owner", "private", 204),
        ("admin", "private", 204),
    ],
)
async def test_who_may(service: Service, who: str, visibility: str, status: int) -> None:
    image = await service.create("admin" if visibility == "public" else "owner", owner="p1", visibility=visibility)
    assert (await stage(service, image["id"], b"data", who)).status_code == status
    if status != 204:
        await require_untouched(service, image["id"])


async def test_a_rule_that_denies_it(service: Service, settings: Settings) -> None:
    image = await service.create()
    settings.policy.policy_file.write_text('modify_image: "!"\n')
    assert (await stage(service, image["id"], b"data", "admin")).status_code == 403
    settings.policy.policy_file.write_text('modify_image: "!"\nget_image: "!"\n')
    assert (await stage(service, image["id"], b"data", "admin")).status_code == 404
    settings.policy.policy_file.unlink()
    await require_untouched(service, image["id"])


async def test_a_rule_that_allows_it_to_all_changes_nothing_for_others(service: Service, settings: Settings) -> None:
    image = await service.create("admin", owner="p1", visibility="public")
    settings.policy.policy_file.write_text('modify_image: ""\n')
    assert (await stage(service, image["id"], b"data", "other")).status_code == 403


async def test_only_a_queued_image_takes_data(service: Service) -> None:
    active = await service.create_active(b"x")
    assert (await stage(service, active["id"], untouched_body())).status_code == 409
    await service.call("owner", "POST", f"/v2/images/{active['id']}/actions/deactivate")
    assert (await stage(service, active["id"], untouched_body())).status_code == 409
    image_id = await staged(service, b"first")
    for path in ("stage", "file"):
        again = await service.call("owner", "PUT", f"/v2/images/{image_id}/{path}", content=b"second", headers=OCTETS)
        assert again.status_code == 409, path
    assert await staged_bytes(service, image_id) == b"first"
    assert (await service.show(image_id))["status"] == "uploading"


async def lock(service: Service, image_id: str, age: timedelta = timedelta(0)) -> None:
    """An import of that image that was asked for so long ago, and whose job has not begun."""
    then = service.services.now() - age

    def take(connection: Any) -> None:
        task_id = service.services.new_id()
        task = Task(task_id, "api_image_import", "processing", "p1", image_id, "req", "u", then, then, {})
        tasks.add(connection, task)
        import_lock.take(connection, image_id, task.id, then)

    await service.services.database.write(take)


@pytest.mark.parametrize("path", ["stage", "file"])
async def test_an_image_that_is_being_imported_takes_none(service: Service, path: str) -> None:
    image = await service.create()
    await lock(service, image["id"])
    place = f"/v2/images/{image['id']}/{path}"
    response = await service.call("owner", "PUT", place, content=b"data", headers=OCTETS)
    assert response.status_code == 409
    assert "active task" in response.text
    shown = await service.show(image["id"])
    assert (shown["status"], shown["size"]) == ("queued", None)
    assert files(service) == []


@pytest.mark.parametrize("path", ["stage", "file"])
async def test_a_dead_import_keeps_nobody_out(service: Service, path: str) -> None:
    image = await service.create()
    await lock(service, image["id"], timedelta(hours=1))
    place = f"/v2/images/{image['id']}/{path}"
    assert (await service.call("owner", "PUT", place, content=b"data", headers=OCTETS)).status_code == 204
    shown = await service.show(image["id"])
    assert "os_glance_import_task" not in shown
    assert shown["status"] == {"stage": "uploading", "file": "active"}[path]


async def test_of_several_at_once_one_wins(service: Service) -> None:
    image = await service.create()
    contents = [bytes([number]) * MIB for number in range(6)]
    answers = await asyncio.gather(*(stage(service, image["id"], in_pieces(content)) for content in contents))
    assert sorted(answer.status_code for answer in answers) == [204] + 5 * [409]
    winner = next(number for number, answer in enumerate(answers) if answer.status_code == 204)
    assert await staged_bytes(service, image["id"]) == contents[winner]
    assert len(files(service)) == 1


async def test_data_is_not_imported_before_it_is_whole(service: Service) -> None:
    image, imported = await service.create(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        await imported.wait()
        yield b"x"

    task = asyncio.create_task(stage(service, image["id"], slowly()))
    while not files(service):
        await asyncio.sleep(0)
    body = {"method": {"name": "glance-direct"}}
    path = f"/v2/images/{image['id']}/import"
    refused = await service.call("owner", "POST", path, json=body, headers=PLAIN)
    assert refused.status_code == 409
    assert "still being staged" in refused.text
    imported.set()
    assert (await task).status_code == 204
    assert (await service.call("owner", "POST", path, json=body)).status_code == 202


class TestAnonymousCallers:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api=replace(settings.api, allow_anonymous_access=True))

    async def test_they_only_look(self, service: Service) -> None:
        image = await service.create("admin", owner="p1", visibility="public")
        assert (await stage(service, image["id"], untouched_body(), "anonymous")).status_code == 403


class TestCap:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_size_cap_bytes=1000, user_storage_quota_bytes=10))

    async def test_the_last_byte_fits(self, service: Service) -> None:
        """A quota of storage is not asked about before data is stored."""
        assert await staged(service, b"x" * 1000)

    async def test_too_much_is_announced(self, service: Service) -> None:
        image = await service.create()
        for _ in range(2):
            response = await stage(service, image["id"], untouched_body(), x_openstack_image_size="1001")
            assert response.status_code == 413
        await require_untouched(service, image["id"])

    async def test_too_much_comes(self, service: Service) -> None:
        image = await service.create()
        assert (await stage(service, image["id"], in_pieces(b"x" * 1001, 100))).status_code == 413
        await require_untouched(service, image["id"])


# Unified limits


@pytest.fixture
def limits() -> FixedLimits:
    return FixedLimits(image_size_total=0, image_stage_total=5, image_count_total=100, image_count_uploading=3)


@pytest.fixture
async def limited(service: Service, limits: FixedLimits) -> AsyncIterator[Service]:
    """The service with unified limits."""
    quotas = replace(service.services.settings.quotas, use_keystone_limits=True)
    services = replace(service.services, limits=limits, settings=replace(service.services.settings, quotas=quotas))
    app = App(services, HeaderIdentity(), {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://images.test") as client:
        yield Service(services, client, app)


class TestLimits:
    async def test_staged_data_of_a_project(self, limited: Service, limits: FixedLimits) -> None:
        """Counted in whole MiB, whoever stages it; what is left may be used again."""
        first = await staged(limited, b"x" * 3 * MIB)
        second = await limited.create()
        response = await stage(limited, second["id"], untouched_body(), x_openstack_image_size=str(3 * MIB))
        assert response.status_code == 413
        assert "image_stage_total is over limit of 5 due to current usage 3 and delta 3" in response.text
        assert (await limited.show(second["id"]))["status"] == "queued"
        assert (await stage(limited, second["id"], b"x" * 2 * MIB)).status_code == 204
        third = await limited.create()
        assert (await stage(limited, third["id"], b"x" * MIB)).status_code == 413
        assert (await limited.call("owner", "DELETE", f"/v2/images/{first}")).status_code == 204
        assert (await stage(limited, third["id"], b"x" * MIB)).status_code == 204
        assert limits.asked[-1] == ("p1", frozenset({"image_stage_total", "image_count_uploading"}))

    async def test_unannounced_data_is_refused_while_it_comes(self, limited: Service) -> None:
        await staged(limited, b"x" * 3 * MIB)
        image = await limited.create()
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 64 * MIB:
                sent += MIB
                yield b"x" * MIB

        response = await stage(limited, image["id"], endless())
        assert response.status_code == 413
        assert "image_stage_total is over limit of 5" in response.text
        assert sent < 16 * MIB
        shown = await limited.show(image["id"])
        assert (shown["status"], shown["size"]) == ("queued", None)
        assert len(files(limited)) == 1

    async def test_what_was_announced_is_reserved(self, limited: Service) -> None:
        """Two at once do not get together what only one can have."""
        one, two = [(await limited.create())["id"] for _ in range(2)]
        refused = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b"x" * MIB
            await refused.wait()
            yield b"x" * 3 * MIB

        task = asyncio.create_task(stage(limited, one, slowly(), x_openstack_image_size=str(4 * MIB)))
        while (await limited.show(one))["status"] != "uploading":
            await asyncio.sleep(0)
        usage = (await limited.call("owner", "GET", "/v2/info/usage")).json()["usage"]
        assert usage["image_stage_total"] == {"limit": 5, "usage": 4}
        assert usage["image_size_total"]["usage"] == 0
        assert (await stage(limited, two, b"x" * 2 * MIB)).status_code == 413
        refused.set()
        assert (await task).status_code == 204
        usage = (await limited.call("owner", "GET", "/v2/info/usage")).json()["usage"]
        assert usage["image_stage_total"] == {"limit": 5, "usage": 4}

    async def test_images_under_way(self, limited: Service) -> None:
        for _ in range(3):
            await staged(limited, b"x")
        image = await limited.create()
        response = await stage(limited, image["id"], untouched_body(), x_openstack_image_size="1")
        assert response.status_code == 413
        assert "image_count_uploading is over limit of 3 due to current usage 4" in response.text
        assert (await limited.show(image["id"]))["status"] == "queued"

    async def test_a_full_quota_is_told_before_anything_about_the_image(
        self, limited: Service, limits: FixedLimits
    ) -> None:
        limits.most["image_stage_total"] = 0
        await staged(limited, b"x" * (MIB - 1))
        assert (await stage(limited, UNKNOWN, b"x" * MIB)).status_code == 413
        limits.down = True
        assert (await stage(limited, UNKNOWN, b"x")).status_code == 503


# Trouble


async def test_a_client_that_goes_away(service: Service) -> None:
    image = await service.create()
    begun, never = asyncio.Event(), asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        begun.set()
        await never.wait()

    task = asyncio.create_task(stage(service, image["id"], half()))
    await begun.wait()
    while not files(service):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await require_untouched(service, image["id"])


async def test_an_image_that_is_deleted_meanwhile(service: Service) -> None:
    image = await service.create()
    deleted = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        await deleted.wait()
        yield b"x"

    task = asyncio.create_task(stage(service, image["id"], slowly()))
    while not files(service):
        await asyncio.sleep(0)
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    deleted.set()
    assert (await task).status_code == 410
    assert files(service) == []
    assert (count(service, tables.leases), count(service, tables.staged_data)) == (0, 0)


async def test_deleting_an_image_removes_what_was_staged(service: Service) -> None:
    image_id, other = await staged(service, DATA), await staged(service, b"other")
    assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    assert await staged_bytes(service, image_id) is None
    assert await staged_bytes(service, other) == b"other"
    assert len(files(service)) == 1


async def test_a_folder_that_cannot_be_used(service: Service, in_folder: None) -> None:
    image = await service.create()
    folder(service).rmdir()
    folder(service).write_text("a file where the folder was")
    for _ in range(2):
        assert (await stage(service, image["id"], b"data")).status_code == 503
        assert (await service.show(image["id"]))["status"] == "queued"
    folder(service).unlink()
    assert (await stage(service, image["id"], b"data")).status_code == 204


class TestUnusableFromTheStart:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        (tmp_path / "file").write_text("no folder")
        return replace(settings, imports=replace(settings.imports, staging_dir=tmp_path / "file" / "staging"))

    async def test_the_service_starts_without_it(
        self, service: Service, in_folder: None, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        image = await service.create()
        assert (await stage(service, image["id"], b"data")).status_code == 503
        assert (await service.show(image["id"]))["status"] == "queued"
        await staging_sweep.sweep(service.services, at_start=True)
        assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
        (tmp_path / "file").unlink()
        assert await staged(service)


def dead(service: Service) -> str:
    """The name of a process of this machine that ran once."""
    machine, space, pid, _ = service.services.holder.rsplit("/", 3)
    return "/".join((machine, space, pid, "1"))


async def broken_off(service: Service, *, whole: bool) -> str:
    """An image as staging leaves it whose process was killed, before or after the last byte."""
    image_id = str((await service.create())["id"])
    lease = Lease(image_id, service.services.new_token(), dead(service), staging.LEASED, 2**52)
    await service.services.database.write(uploads.begin, lease, service.services.now(), None, UPLOADING)
    key, place = image_id, folder(service)
    if service.services.staging.is_shared:
        key, place = service.services.staging.key(f"{image_id}.x"), images_folder(service)
        row = StagedRow(image_id, "file", key)
        await service.services.database.write(db_staging.begin, row)
        if whole:
            location = Location("file", f"file://{place}/{key}")
            await service.services.database.write(db_staging.finish, row, location, 10)
    (place / (key if whole else partial_name(key))).write_bytes(b"half of it")
    return image_id


@pytest.mark.parametrize("whole", [False, True])
async def test_a_dead_process_is_cleaned_up_behind(service: Service, whole: bool) -> None:
    image_id = await broken_off(service, whole=whole)
    assert files(service) != []
    assert await cleanup.take_over_dead_uploads(service.services) == 1
    await require_untouched(service, image_id)
    assert (await stage(service, image_id, b"data")).status_code == 204
    assert await staged_bytes(service, image_id) == b"data"


async def test_an_image_that_is_staged_elsewhere_is_not_imported_before_its_data_is_there(service: Service) -> None:
    """Until then somebody has a lease on it."""
    image_id = await broken_off(service, whole=True)
    assert await service.services.database.read(uploads.is_held, image_id)
    await cleanup.take_over_dead_uploads(service.services)
    assert not await service.services.database.read(uploads.is_held, image_id)


# Where staged data lies


async def test_what_another_service_staged_is_found(service: Service, in_folder: None) -> None:
    image = await service.create()
    (folder(service) / image["id"]).write_bytes(b"of Glance's")
    assert await staged_bytes(service, image["id"]) == b"of Glance's"


async def fill(service: Service, image_id: str, *pieces: bytes) -> None:
    async with staging.filling(service.services, image_id, None) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
        await writer.commit()


async def test_data_is_found_once_it_is_whole(service: Service) -> None:
    image_id = str((await service.create())["id"])
    async with staging.filling(service.services, image_id, 5) as writer:
        await writer.write(memoryview(b"12"))
        assert await staging.find(service.services, image_id) is None
        await writer.write(memoryview(b"345"))
        location = await writer.commit()
        found = await staging.find(service.services, image_id)
    assert found == staging.StagedData(location, 5)
    assert await staged_bytes(service, image_id) == b"12345"


async def test_new_data_takes_the_place_of_old(service: Service) -> None:
    image_id = str((await service.create())["id"])
    await fill(service, image_id, b"first")
    await fill(service, image_id, b"second")
    assert await staged_bytes(service, image_id) == b"second"
    assert len(files(service)) == 1


async def test_what_is_not_committed_leaves_nothing(service: Service) -> None:
    image_id = str((await service.create())["id"])
    await fill(service, image_id, b"first")
    with suppress(ZeroDivisionError):
        async with staging.filling(service.services, image_id, None) as writer:
            await writer.write(memoryview(b"second"))
            raise ZeroDivisionError
    await require_untouched(service, image_id)


async def test_a_filling_that_is_cancelled_at_any_point_leaves_all_or_nothing(service: Service) -> None:
    image_id = str((await service.create())["id"])
    outcomes = set()
    for rounds in range(0, 60, 3):
        task = asyncio.create_task(fill(service, image_id, b"data"))
        for _ in range(rounds):
            await asyncio.sleep(0.0005)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        found = await staged_bytes(service, image_id)
        assert (found, len(files(service))) in ((None, 0), (b"data", 1))
        outcomes.add(found)
        await staging.discard(service.services, image_id)
    assert None in outcomes


async def test_discarding(service: Service) -> None:
    image_id = str((await service.create())["id"])
    await staging.discard(service.services, image_id)
    await fill(service, image_id, b"data")
    await staging.discard(service.services, image_id)
    await require_untouched(service, image_id)


async def test_what_was_swept_away_is_not_committed(service: Service, in_store: None) -> None:
    image_id = str((await service.create())["id"])
    async with staging.filling(service.services, image_id, None) as writer:
        await writer.write(memoryview(b"data"))
        await execute(service, tables.staged_data.delete())
        with pytest.raises(Gone):
            await writer.commit()
    await require_untouched(service, image_id)


async def test_scratch_files(service: Service) -> None:
    one, two = [str((await service.create())["id"]) for _ in range(2)]
    mine = [staging.scratch_file(service.services, one, suffix) for suffix in ("converted", "source.raw")]
    other = staging.scratch_file(service.services, two, "converted")
    for path in (*mine, other):
        path.write_bytes(b"x")
    assert mine[0].name == f"{one}.converted"
    await staging.remove_scratch(service.services, one)
    assert [path.exists() for path in (*mine, other)] == [False, False, True]


# Sweeping


def put_file(service: Service, name: str) -> None:
    (folder(service) / name).write_bytes(b"x")


async def in_status(service: Service, status: str) -> str:
    image_id = str((await service.create())["id"])
    await service.services.database.write(
        lambda connection: (
            connection.execute(
                update(tables.images)
                .where(tables.images.c.id == image_id)
                .values(status=status, deleted=status == "deleted")
            ).rowcount
        )
    )
    return image_id


async def with_job(service: Service) -> str:
    image_id = str((await service.create())["id"])
    job = NewJob(service.services.new_id(), "api_image_import", {}, "p1", image_id)
    await service.services.database.write(jobs.add, job, service.services.now_ms())
    return image_id


NAMES: tuple[Callable[[str], str], ...] = (
    lambda image_id: image_id,
    lambda image_id: f"{image_id}.qcow2",
    lambda image_id: f"{image_id}.uc",
    lambda image_id: f"{image_id}.some.thing",
    lambda image_id: f".blick-{image_id}.part",
    lambda image_id: f".blick-{image_id}.uc.part",
)


@pytest.mark.parametrize("status", ["queued", "active", "deactivated", "deleted", "killed", "pending_delete"])
async def test_files_that_their_images_need_no_longer_go(service: Service, in_folder: None, status: str) -> None:
    image_id = await in_status(service, status)
    for name in NAMES:
        put_file(service, name(image_id))
    assert await staging_sweep.sweep(service.services) == len(NAMES)
    assert files(service) == []


@pytest.mark.parametrize("status", ["uploading", "importing", "saving"])
async def test_files_of_images_whose_data_is_under_way_stay(service: Service, in_folder: None, status: str) -> None:
    image_id = await in_status(service, status)
    for name in NAMES:
        put_file(service, name(image_id))
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    assert files(service) == sorted(name(image_id) for name in NAMES)


async def test_files_that_somebody_works_on_stay(service: Service, in_folder: None) -> None:
    """Whatever the image's status: a copy is made of an active one."""
    worked_on, image_id = await with_job(service), str((await service.create())["id"])
    put_file(service, worked_on)
    put_file(service, image_id)
    lease = Lease(image_id, "token", "holder", staging.LEASED, 2**52)
    await service.services.database.write(uploads.take, lease)
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    await service.services.database.write(uploads.drop, lease)
    assert await staging_sweep.sweep(service.services) == 1
    assert files(service) == [worked_on]


async def test_files_of_others_stay(service: Service, in_folder: None) -> None:
    image_id = await in_status(service, "deleted")
    foreign = [
        "lost+found", "notes.txt", ".hidden", f"{image_id}x", f"x{image_id}", f"{image_id[:-1]}", f"{image_id}~",
        f".{image_id}", f".blick-{image_id}", f"{image_id}-1", image_id.replace("-", ""),
    ]  # fmt: skip
    for name in foreign:
        put_file(service, name)
    (folder(service) / image_id).mkdir()
    (folder(service) / f"{image_id}.link").symlink_to(folder(service) / "notes.txt")
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    assert files(service) == sorted([*foreign, image_id, f"{image_id}.link"])


async def test_files_of_unknown_images_go_at_the_start_only(service: Service, in_folder: None) -> None:
    """Two services that were given one folder by mistake do not harm each other's work all the time."""
    put_file(service, UNKNOWN)
    assert await staging_sweep.sweep(service.services) == 0
    assert await staging_sweep.sweep(service.services, at_start=True) == 1
    assert files(service) == []


async def test_many_files(service: Service, in_folder: None) -> None:
    live = await in_status(service, "uploading")
    put_file(service, live)
    for number in range(1000):
        put_file(service, f"{number:08x}-0000-4000-8000-000000000000")
    assert await staging_sweep.sweep(service.services, at_start=True) == 1000
    assert files(service) == [live]


async def test_nothing_is_asked_where_nothing_lies(service: Service, in_folder: None) -> None:
    with service.statements() as seen:
        await staging_sweep.sweep(service.services)
    assert len([statement for statement in seen if not statement.startswith("BEGIN")]) == 1


async def test_objects_that_their_images_need_no_longer_go(service: Service, in_store: None) -> None:
    live, dead_image = await staged(service, b"live"), await staged(service, b"dead")
    half = await broken_off(service, whole=False)
    for image_id in (dead_image, half):
        await execute(service, of(image_id).values(status="active"))
    await execute(service, tables.leases.delete())
    assert len(files(service)) == 3
    assert await staging_sweep.sweep(service.services) == 2
    assert await staged_bytes(service, live) == b"live"
    assert len(files(service)) == 1
    assert count(service, tables.staged_data) == 1


async def test_staged_data_is_no_orphan_of_its_store(service: Service, in_store: None) -> None:
    """Neither whole nor on its way; without its row it is."""
    await staged(service)
    await broken_off(service, whole=False)
    await execute(service, update(tables.leases).values(holder="another-machine/space/1/1"))
    result = await checked(service.services, repair=True)
    assert (result.status, result.seen) == (0, [])
    assert result.tallies["file"].busy == 2
    assert len(files(service)) == 2
    await execute(service, tables.staged_data.delete())
    result = await checked(service.services)
    assert sorted(key for _, kind, key in result.seen if kind == ORPHANED) == sorted(
        key_of_partial(name) or name for name in files(service)
    )


# Expiry


async def age(service: Service, image_id: str, hours: float) -> None:
    then = service.services.now() - timedelta(hours=hours)
    await execute(service, of(image_id).values(updated_at=then))


async def test_what_is_never_imported_expires(service: Service) -> None:
    image_id, young = await staged(service, b"old"), await staged(service, b"young")
    await age(service, image_id, 48.1)
    await age(service, young, 47.9)
    assert await staging_sweep.expire(service.services) == 1
    shown = await service.show(image_id)
    assert (shown["status"], shown["size"]) == ("queued", None)
    assert await staged_bytes(service, image_id) is None
    assert (await service.show(young))["status"] == "uploading"
    assert await staged_bytes(service, young) == b"young"
    assert (await stage(service, image_id, b"new")).status_code == 204


async def test_what_somebody_works_on_does_not_expire(service: Service) -> None:
    locked, leased, worked_on = [await staged(service) for _ in range(3)]
    await lock(service, locked)
    await service.services.database.write(uploads.take, Lease(leased, "token", "holder", staging.LEASED, 2**52))
    job = NewJob(service.services.new_id(), "api_image_import", {}, "p1", worked_on)
    await service.services.database.write(jobs.add, job, service.services.now_ms())
    for image_id in (locked, leased, worked_on):
        await age(service, image_id, 1000)
    assert await staging_sweep.expire(service.services) == 0
    assert {(await service.show(image_id))["status"] for image_id in (locked, leased, worked_on)} == {"uploading"}
    assert len(files(service)) == 3


class TestExpiryElsewhere:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=replace(settings.imports, node_url="http://node-one:9292"))

    async def test_other_nodes_see_to_their_own(self, service: Service, in_folder: None) -> None:
        """Unless they do not come back."""
        own, gone, away = [await staged(service) for _ in range(3)]
        table = tables.image_properties
        await service.services.database.write(
            lambda connection: (
                connection.execute(
                    update(table).where(table.c.image_id.in_((gone, away))).values(value="http://node-two:9292")
                ).rowcount
            )
        )
        await age(service, own, 49)
        await age(service, away, 49)
        await age(service, gone, 97)
        assert await staging_sweep.expire(service.services) == 2
        shown = {image_id: (await service.show(image_id))["status"] for image_id in (own, gone, away)}
        assert shown == {own: "queued", gone: "queued", away: "uploading"}


async def test_the_housekeeping_does_it(service: Service) -> None:
    image_id = await staged(service)
    await age(service, image_id, 100)
    if not service.services.staging.is_shared:
        put_file(service, UNKNOWN)
    task = asyncio.create_task(staging_sweep.run_forever(service.services))
    try:
        while (await service.show(image_id))["status"] != "queued" or files(service):
            await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_old_files_are_no_left_overs_because_they_are_old(service: Service, in_folder: None) -> None:
    image_id = await staged(service)
    os.utime(folder(service) / image_id, (0, 0))
    assert await staging_sweep.sweep(service.services, at_start=True) == 0
    assert files(service) == [image_id]
