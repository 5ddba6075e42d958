"""An image with several copies: which one is read, and what happens where it fails."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from blick.conf.settings import Settings, StoreSettings
from blick.db import images
from blick.db.tables import images as images_table
from blick.stores import registry
from tests.support.breaking_store import ENTRY_POINT
from tests.support.service import OCTETS, Service

MIB = 1 << 20
DATA = bytes(range(256)) * (3 * MIB // 256) + b"end"
READABLE_BYTES = MIB + 1000


@pytest.fixture(autouse=True)
def breaking_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry finds one driver more."""
    drivers = [*entry_points(group="blick.stores"), ENTRY_POINT]
    monkeypatch.setattr(registry, "entry_points", lambda group: drivers)


def breaking(store_id: str, folder: Path, weight: int, readable_bytes: int = READABLE_BYTES) -> StoreSettings:
    options: Mapping[str, Any] = {"filesystem_store_datadir": str(folder), "readable_bytes": readable_bytes}
    return StoreSettings(store_id, "breaking", options, weight=weight)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Two stores that break, before one that does not."""
    stores = (
        breaking("first", tmp_path / "first", 20),
        breaking("second", tmp_path / "second", 10),
        breaking("mute", tmp_path / "mute", 5, 0),
        StoreSettings("last", "file", {"filesystem_store_datadir": str(tmp_path / "last")}),
    )
    return replace(settings, stores=replace(settings.stores, stores=stores, default_store="first", multi_store=True))


async def with_copies(service: Service, tmp_path: Path, *store_ids: str, data: bytes = DATA) -> str:
    """An image whose data lies in these stores, the first one its own upload's."""
    image = await service.create()
    headers = {**OCTETS, "x-image-meta-store": store_ids[0]}
    answer = await service.call("owner", "PUT", f"/v2/images/{image['id']}/file", content=data, headers=headers)
    assert answer.status_code == 204, answer.text
    for store_id in store_ids[1:]:
        path = tmp_path / store_id / image["id"]
        path.write_bytes(data)
        place = f"file://{path}", {"store": store_id}
        await service.services.database.write(images.add_location, image["id"], *place, service.services.now())
    return str(image["id"])


async def read(service: Service, image_id: str, **headers: str) -> bytes:
    answer = await service.call("owner", "GET", f"/v2/images/{image_id}/file", headers=headers)
    assert answer.status_code in (200, 206), answer.text
    return answer.content


async def test_a_copy_that_breaks_is_continued_from_the_next_ones(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "first", "second", "mute", "last")
    assert await read(service, image_id) == DATA


async def test_so_is_a_range(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "first", "second", "last")
    assert await read(service, image_id, range=f"bytes=1000-{2 * MIB + 4999}") == DATA[1000 : 2 * MIB + 5000]


async def test_a_copy_that_gives_nothing_is_passed_over(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "mute", "last")
    assert await read(service, image_id) == DATA


async def test_a_copy_of_another_size_never_continues(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "first", "second", "last")
    (tmp_path / "second" / image_id).write_bytes(DATA + b"more")
    assert await read(service, image_id) == DATA


async def test_nothing_is_continued_that_is_not_proven_to_be_the_same(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "first", "last")
    await service.services.database.write(
        lambda connection: (
            connection.execute(
                images_table.update().where(images_table.c.id == image_id).values(os_hash_value=None)
            ).rowcount
        )
    )
    with pytest.raises(Exception, match="the line broke"):
        await read(service, image_id)
    # Before the first byte any copy will do.
    other_id = await with_copies(service, tmp_path, "mute", "last")
    assert await read(service, other_id) == DATA


async def test_all_that_fail_are_an_answer_before_the_first_byte(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "mute")
    answer = await service.call("owner", "GET", f"/v2/images/{image_id}/file")
    assert answer.status_code == 503
    assert "the line broke" in answer.text


async def test_a_preferred_store_is_first(service: Service, tmp_path: Path) -> None:
    image_id = await with_copies(service, tmp_path, "mute", "last")
    (tmp_path / "last" / image_id).write_bytes(b"L" * len(DATA))
    answer = await service.call("admin", "GET", f"/v2/images/{image_id}/file?prefer=last,first")
    assert answer.content == b"L" * len(DATA)
