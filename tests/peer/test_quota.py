"""The same requests to Blick and to the reference service, under the same limits: what fits, and what is said."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.keystone import Keystone
from tests.support.upstream import UpstreamGlance

pytestmark = pytest.mark.needs("keystone", "upstream")

MIB = 1 << 20
RAW = {"disk_format": "raw", "container_format": "bare"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
OVER = re.compile(r"Resource \w+ is over limit of \d+ due to current usage \d+ and delta \d+")


@dataclass(frozen=True)
class Sides:
    """A member of one project at both services, whose answers have to agree."""

    sides: tuple[ImagesApi, ImagesApi]

    def create(self, **attributes: Any) -> "tuple[str, str]":
        """The same new image on both."""
        ids = tuple(side.create(**RAW | attributes)["id"] for side in self.sides)
        return ids[0], ids[1]

    def alike(self, method: str, path: str, ids: tuple[str, str] = ("", ""), **options: Any) -> tuple[int, list[str]]:
        """The status that both answer, and which limits they say are passed."""
        answers = [
            side.http.request(method, path.format(image_id), **options)
            for side, image_id in zip(self.sides, ids, strict=True)
        ]
        ours, theirs = ((answer.status_code, OVER.findall(answer.text)) for answer in answers)
        assert ours == theirs, f"{method} {path}: {[answer.text for answer in answers]}"
        return ours

    def put(self, ids: tuple[str, str], size_bytes: int) -> tuple[int, list[str]]:
        headers = {"content-type": "application/octet-stream"}
        return self.alike("PUT", "/v2/images/{}/file", ids, content=b"x" * size_bytes, headers=headers)

    def usage(self) -> dict[str, dict[str, int]]:
        ours, theirs = (side.http.get("/v2/info/usage").json() for side in self.sides)
        assert ours == theirs
        shown: dict[str, dict[str, int]] = ours["usage"]
        return shown


@contextmanager
def both(folder: Path, keystone: Keystone, options: Mapping[str, Mapping[str, object]]) -> Iterator[Sides]:
    identity = {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.authtoken_options()}
    with ExitStack() as stack:
        upstream = stack.enter_context(UpstreamGlance(folder / "upstream", keystone=keystone, options=options))
        blick = stack.enter_context(configured_server(folder / "blick", identity | dict(options)))
        sides = [stack.enter_context(ImagesApi(each.url, keystone.auth("demo"))) for each in (blick, upstream)]
        yield Sides((sides[0], sides[1]))


def test_unified_limits(tmp_path: Path) -> None:
    with Keystone(tmp_path / "keystone") as keystone:
        options = {"DEFAULT": {"use_keystone_limits": True}, "oslo_limit": keystone.limit_options()}
        with both(tmp_path, keystone, options) as sides:
            assert sides.alike("POST", "/v2/images", json=RAW)[0] == 413
            sides.usage()
            keystone.register_limits({"image_size_total": 5, "image_stage_total": 5, "image_count_total": 7})
            keystone.register_limits({"image_count_uploading": 1})
            first, second, tiny = (sides.create() for _ in range(3))
            assert sides.put(first, 3 * MIB) == (204, [])
            assert sides.put(second, 3 * MIB)[0] == 413
            assert sides.put(second, 2 * MIB + 900_000) == (204, [])
            assert sides.usage()["image_size_total"] == {"limit": 5, "usage": 5}
            assert sides.put(tiny, 1) == (204, [])
            keystone.register_limits({"image_size_total": 4})
            for path in (f"/v2/images/{UNKNOWN}/file", "/v2/images/{}/file"):
                headers = {"content-type": "application/octet-stream"}
                assert sides.alike("PUT", path, first, content=b"x", headers=headers)[0] == 413
            assert sides.alike("PUT", f"/v2/images/{UNKNOWN}/file", content=b"x")[0] == 415
            keystone.register_limits({"image_size_total": 50, "image_count_uploading": 0})
            last = sides.create()
            for image, status in ((last, 413), (first, 409), ((UNKNOWN, UNKNOWN), 404)):
                assert sides.put(image, 1)[0] == status
            keystone.register_limits({"image_count_total": 4})
            for body, status in (({}, 413), ({"visibility": "public"}, 403), ({"owner": "x"}, 403)):
                assert sides.alike("POST", "/v2/images", json=body)[0] == status
            for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD"):
                assert sides.alike(method, "/v2/info/usage")[0] == 404
            sides.usage()


def test_storage_quota(tmp_path: Path, keystone: Keystone) -> None:
    with both(tmp_path, keystone, {"DEFAULT": {"user_storage_quota": "3MB"}}) as sides:
        assert sides.usage() == {}
        first, second, third = (sides.create() for _ in range(3))
        assert sides.put(first, 2 * MIB) == (204, [])
        assert [side.http.get(f"/v2/images/{UNKNOWN}").status_code for side in sides.sides] == [404, 404]
        headers = {"content-type": "application/octet-stream"}
        for side, image_id in zip(sides.sides, second, strict=True):
            answer = side.http.put(f"/v2/images/{image_id}/file", content=b"x" * (MIB + 1), headers=headers)
            assert answer.status_code == 413
            assert side.show(image_id)["status"] == "queued"
        assert sides.put(second, MIB) == (204, [])
        for side, image_id in zip(sides.sides, third, strict=True):
            assert side.http.put(f"/v2/images/{image_id}/file", content=b"x", headers=headers).status_code == 413
        for side, image_id in zip(sides.sides, first, strict=True):
            side.delete(image_id)
        assert sides.put(third, 2 * MIB) == (204, [])
