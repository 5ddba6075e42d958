"""Uploads that can be taken up again, by tus 1.0: what their requests say, and a client in the tests' own process."""

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import httpx

from blick.db.tables import resumable_uploads, upload_parts
from blick.http.app import App
from blick.ops.services import this_process
from blick.ops.uploads_here import UploadsHere
from tests.support.callers import HEADERS, HeaderIdentity
from tests.support.service import Service

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
DATA = bytes(range(256)) * 20_000
"""What an upload brings, unless told otherwise."""


class Slow:
    """One PATCH whose body comes when, and as far as, the test lets it."""

    def __init__(self, service: Service, path: str, offset: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {**HEADERS["owner"], **PIECE, "upload-offset": str(offset), "transfer-encoding": "chunked", **named}
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: list[Any] = []
        scope = {
            "type": "http", "method": "PATCH", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in usual.items()], "scheme": "http",
            "root_path": "", "server": ("images.test", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
        }  # fmt: skip
        self._task = asyncio.ensure_future(service.app(scope, self._messages.get, self._keep))  # type: ignore[arg-type]

    async def _keep(self, message: Any) -> None:
        self._sent.append(message)

    def send(self, data: bytes, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def go_away(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def status(self) -> int:
        """That of the answer, once there is one."""
        await self._task
        return int(self._sent[0]["status"])


def restarted(service: Service) -> Service:
    """The service as it is for who comes after a restart: nothing is remembered that is not written down."""
    holder = this_process().rpartition("/")[0] + "/0"
    services = replace(service.services, uploads_here=UploadsHere(), holder=holder)
    app = App(services, HeaderIdentity(), {})
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://images.test")
    return Service(services, client, app)


async def begin(
    service: Service, image: dict[str, Any], length: int | None = len(DATA), who: str = "owner", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    size = {} if length is None else {"upload-length": str(length)}
    return await service.call(who, "POST", f"/v2/images/{image['id']}/upload", headers={**TUS, **size, **named})


async def begun(service: Service, image: dict[str, Any], length: int | None = len(DATA), **headers: str) -> str:
    """The path of a new upload."""
    answer = await begin(service, image, length, **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("http://images.test")


async def add(
    service: Service, path: str, offset: int, data: Any, who: str = "owner", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.call(
        who, "PATCH", path, content=data, headers={**PIECE, "upload-offset": str(offset), **named}
    )


async def head(service: Service, path: str, who: str = "owner") -> httpx.Response:
    return await service.call(who, "HEAD", path, headers=TUS)


async def offset(service: Service, path: str) -> int:
    answer = await head(service, path)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def recorded(service: Service) -> tuple[int, int]:
    """How many uploads and parts of uploads the database knows."""
    return service.count(resumable_uploads), service.count(upload_parts)


async def require_image(service: Service, image: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The image is active with exactly this data."""
    shown = await service.show(image["id"])
    assert (shown["status"], shown["size"]) == ("active", len(data))
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    answer = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert answer.content == data
    return shown
