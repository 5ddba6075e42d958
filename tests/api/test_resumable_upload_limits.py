"""What resumable uploads may take of a quota before they are complete."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from blick.conf.settings import QuotaSettings, Settings
from tests.support.bodies import in_pieces
from tests.support.service import Service
from tests.support.staged import staging_at
from tests.support.tus import TUS, add, begun, offset

pytestmark = pytest.mark.usefixtures("worker")

QUOTA_BYTES = 1000


@pytest.fixture
def settings(settings: Settings, staging_place: str) -> Settings:
    """Owners have a quota."""
    quotas = QuotaSettings(user_storage_quota_bytes=QUOTA_BYTES)
    return staging_at(replace(settings, quotas=quotas), staging_place)


async def new_upload(service: Service, length: int | None) -> str:
    """The path of a new upload to a new image; None: its length is told later."""
    deferred = {"upload_defer_length": "1"} if length is None else {}
    return await begun(service, await service.create(), length, **deferred)


async def there(service: Service, path: str, start: int, data: bytes | AsyncIterator[bytes], refused: str = "") -> int:
    """Sends a piece; gives how much is there afterwards."""
    answer = await add(service, path, start, data)
    assert answer.status_code == (413 if refused else 204), answer.text
    assert refused in answer.text
    return await offset(service, path)


def bit_by_bit(size_bytes: int) -> AsyncIterator[bytes]:
    return in_pieces(b"x" * size_bytes, 100)


async def test_a_piece_of_unknown_length_ends_where_the_quota_does(service: Service) -> None:
    path = await new_upload(service, None)
    assert await there(service, path, 0, bit_by_bit(300)) == 300
    other = await new_upload(service, None)
    assert await there(service, other, 0, bit_by_bit(5000), "user_storage_quota") <= QUOTA_BYTES - 300


async def test_many_uploads_that_would_each_fit_in(service: Service) -> None:
    paths = [await new_upload(service, 900) for _ in range(3)]
    assert await there(service, paths[0], 0, b"x" * 600) == 600
    assert await there(service, paths[1], 0, b"x" * 400) == 400
    assert await there(service, paths[1], 400, b"x", "user_storage_quota") == 400
    assert await there(service, paths[2], 0, bit_by_bit(300), "user_storage_quota") == 0
    assert await there(service, paths[0], 600, b"", "") == 600, "nothing more is nothing too many"
    assert (await service.call("owner", "DELETE", paths[1], headers=TUS)).status_code == 204
    assert (await add(service, paths[0], 600, b"x" * 300)).status_code == 204
    image_id = paths[0].split("/")[3]
    assert (await service.show(image_id))["status"] == "active"
