"""PUT /v2/images/{image_id}/stage (spec: images-api §10.3, import-and-tasks §7)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from blick.conf.settings import Settings
from blick.db import staging as db_staging
from blick.db import tables, uploads
from blick.ops import cleanup, staging_sweep
from tests.support.bodies import in_pieces, untouched_body
from tests.support.databases import on_every_engine
from tests.support.import_lock import lock
from tests.support.service import OCTETS, PATCH_2_1, Service
from tests.support.staged import (
    broken_off,
    require_untouched,
    stage,
    staged,
    staged_bytes,
    staged_files,
    staging_at,
    staging_folder,
)

pytestmark = on_every_engine

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MIB = 1 << 20
DATA = bytes(range(256)) * 20_000  # more than one buffer
PLAIN = {"accept": "text/plain"}


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    return staging_at(settings, staging_place)


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
    assert service.count(tables.leases) == 0
    assert len(staged_files(service)) == 1
    assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/file")).status_code == 204


async def test_the_file_is_named_like_the_image(service: Service, in_folder: None) -> None:
    image_id = await staged(service, DATA)
    assert (staging_folder(service) / image_id).read_bytes() == DATA
    assert staged_files(service) == [image_id]


async def test_no_object_of_a_store_is_named_like_an_image(service: Service, in_store: None) -> None:
    image_id = await staged(service, DATA)
    [name] = staged_files(service)
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
    (staging_folder(service) / image["id"]).write_bytes(b"of old")
    (staging_folder(service) / f".blick-{image['id']}.part").write_bytes(b"half of it")
    assert (await stage(service, image["id"], DATA)).status_code == 204
    assert (staging_folder(service) / image["id"]).read_bytes() == DATA
    assert staged_files(service) == [image["id"]]


async def test_a_folder_that_was_tidied_away_is_made_again(service: Service, in_folder: None) -> None:
    staging_folder(service).rmdir()
    image_id = await staged(service, DATA)
    assert (staging_folder(service) / image_id).read_bytes() == DATA


class TestNodes:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, imports=replace(settings.imports, node_url="http://node-one:9292"))

    async def test_the_node_that_has_the_data_is_noted_and_not_shown(
        self, service: Service, staging_place: str
    ) -> None:
        image_id = await staged(service)
        table = tables.image_properties
        with service.services.database.engine.connect() as connection:
            noted = connection.execute(select(table.c.name, table.c.value)).all()
        assert noted == ([] if staging_place == "store" else [("os_glance_stage_host", "http://node-one:9292")])
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
    assert staged_files(service) == []


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
    assert staged_files(service) == []


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
    assert len(staged_files(service)) == 1


async def test_data_is_not_imported_before_it_is_whole(service: Service) -> None:
    image, imported = await service.create(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        await imported.wait()
        yield b"x"

    task = asyncio.create_task(stage(service, image["id"], slowly()))
    while not staged_files(service):
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
    while not staged_files(service):
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
    while not staged_files(service):
        await asyncio.sleep(0)
    assert (await service.call("owner", "DELETE", f"/v2/images/{image['id']}")).status_code == 204
    deleted.set()
    assert (await task).status_code == 410
    assert staged_files(service) == []
    assert (service.count(tables.leases), service.count(tables.staged_data)) == (0, 0)


async def test_deleting_an_image_removes_what_was_staged(service: Service) -> None:
    image_id, other = await staged(service, DATA), await staged(service, b"other")
    assert (await service.call("owner", "DELETE", f"/v2/images/{image_id}")).status_code == 204
    assert await staged_bytes(service, image_id) is None
    assert await staged_bytes(service, other) == b"other"
    assert len(staged_files(service)) == 1


async def test_a_folder_that_cannot_be_used(service: Service, in_folder: None) -> None:
    image = await service.create()
    staging_folder(service).rmdir()
    staging_folder(service).write_text("a file where the folder was")
    for _ in range(2):
        assert (await stage(service, image["id"], b"data")).status_code == 503
        assert (await service.show(image["id"]))["status"] == "queued"
    staging_folder(service).unlink()
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


@pytest.mark.parametrize("whole", [False, True])
async def test_a_dead_process_is_cleaned_up_behind(service: Service, whole: bool) -> None:
    image_id = await broken_off(service, whole=whole)
    assert staged_files(service) != []
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
