"""A member of a project for servers behind an authenticating proxy, which these tests are themselves."""

from types import TracebackType
from typing import Self

import httpx

from tests.support.server import BlickServer

MIB = 1 << 20
OCTETS = {"content-type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}


class Member:
    """A member of a project, as an authenticating proxy would tell it; use it in a `with`."""

    def __init__(self, server: BlickServer, project_id: str) -> None:
        headers = {
            "X-Identity-Status": "Confirmed",
            "X-User-Id": "u1",
            "X-Project-Id": project_id,
            "X-Roles": "member,reader",
        }
        self.headers = headers
        self.http = httpx.Client(base_url=server.url, timeout=120, trust_env=False, headers=headers)

    def create(self) -> httpx.Response:
        return self.http.post("/v2/images", json=RAW)

    def image_id(self) -> str:
        answer = self.create()
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def put(self, image_id: str, size_bytes: int, *, announced: bool = True) -> httpx.Response:
        pieces = (b"x" * min(MIB, size_bytes - start) for start in range(0, size_bytes, MIB))
        length = {"x-openstack-image-size": str(size_bytes)} if announced else {}
        return self.http.put(f"/v2/images/{image_id}/file", content=pieces, headers=OCTETS | length)

    def usage(self) -> dict[str, dict[str, int]]:
        answer = self.http.get("/v2/info/usage")
        assert answer.status_code == 200, answer.text
        shown: dict[str, dict[str, int]] = answer.json()["usage"]
        return shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
