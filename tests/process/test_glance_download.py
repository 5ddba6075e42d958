"""Images that come from another region: two real image services, one Keystone that knows both (import-and-tasks §9)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.keystone_cloud import KeystoneCloud, keystone_cloud
from tests.support.remote_region import RemoteRegion
from tests.support.reverse_proxy import ReverseProxy
from tests.support.server import BlickServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs("keystone")

DATA = os.urandom(20_000_000)
FORMATS = {"disk_format": "raw", "container_format": "bare"}
OCTETS = {"content-type": "application/octet-stream"}
LOCK = "os_glance_import_task"


@dataclass(frozen=True)
class Regions:
    """`one` takes images from `two`, which it reaches through `line`."""

    cloud: KeystoneCloud
    one: httpx.Client
    two: httpx.Client
    line: ReverseProxy
    server: BlickServer  # of the first
    folder: Path

    def add(self, region: str, url: str) -> None:
        """Have another region in the catalog."""
        with self.cloud.keystone.admin() as api:
            [service] = api.list("services", type="image")
            api.create("region", id=region)
            api.create("endpoint", service_id=service["id"], interface="public", url=url, region_id=region)

    def headers(self, user: str = "demo") -> dict[str, str]:
        return {"X-Auth-Token": self.cloud.keystone.token(user)}

    def make(self, data: bytes, **properties: str) -> dict[str, Any]:
        """A private image of demo in the second region."""
        headers = self.headers()
        image = self.two.post("/v2/images", json={**FORMATS, **properties}, headers=headers).json()
        place = f"/v2/images/{image['id']}"
        assert self.two.put(f"{place}/file", content=data, headers={**headers, **OCTETS}).status_code == 204
        record: dict[str, Any] = self.two.get(place, headers=headers).json()
        return record

    def begin(self, theirs: str, region: str = "regiontwo", headers: dict[str, str] | None = None) -> str:
        """Ask for an import into a new image of the first region."""
        headers = headers or self.headers()
        body = {**FORMATS, "name": "mine", "os_version": "12"}
        image_id: str = self.one.post("/v2/images", json=body, headers=headers).json()["id"]
        method = {"name": "glance-download", "glance_region": region, "glance_image_id": theirs}
        answer = self.one.post(f"/v2/images/{image_id}/import", json={"method": method}, headers=headers)
        assert answer.status_code == 202, answer.text
        return image_id

    def end(self, image_id: str, user: str = "demo") -> tuple[dict[str, Any], dict[str, Any]]:
        """Image and task, when it is done."""
        headers = self.headers(user)
        place = f"/v2/images/{image_id}"
        eventually(lambda: LOCK not in self.one.get(place, headers=headers).json(), what="the end of an import")
        [task] = self.one.get(f"{place}/tasks", headers=headers).json()["tasks"]
        return self.one.get(place, headers=headers).json(), task

    def data(self, image_id: str) -> bytes:
        return self.one.get(f"/v2/images/{image_id}/file", headers=self.headers()).content

    def failure(self, image_id: str, user: str = "demo") -> str:
        """Why it failed; also sees to it that the image is as it was."""
        image, task = self.end(image_id, user)
        assert (image["status"], image["size"], image["os_hash_value"]) == ("queued", None, None)
        assert (image["name"], image["os_version"], image["os_glance_importing_to_stores"]) == ("mine", "12", "")
        assert task["status"] == "failure"
        staged = self.folder / "one" / "staging"
        assert list(staged.iterdir()) == []
        message: str = task["message"]
        return message


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    folder = tmp_path_factory.mktemp("regions")
    with keystone_cloud(folder / "keystone") as cloud, ReverseProxy() as line:
        filters = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": "[]"}
        groups: dict[str, dict[str, object]] = {
            "DEFAULT": {
                "enabled_import_methods": "[glance-download]",
                "node_staging_uri": f"file://{folder / 'one' / 'staging'}",
            },
            "import_filtering_opts": filters,
            "blick": {"fetch_retries": 1},
        }
        (folder / "one").mkdir()
        (folder / "two").mkdir()
        two = cloud.image_service(folder / "two")
        one = cloud.image_service(folder / "one", groups)
        with two, one:
            line.target = f"127.0.0.1:{two.port}"
            yield from _with_clients(cloud, one, two, line, folder)


def _with_clients(
    cloud: KeystoneCloud, one: BlickServer, two: BlickServer, line: ReverseProxy, folder: Path
) -> Iterator[Regions]:
    options: dict[str, Any] = {"timeout": 120, "trust_env": False}
    with httpx.Client(base_url=one.url, **options) as first, httpx.Client(base_url=two.url, **options) as second:
        cloud.keystone.set_image_url(one.url)
        regions = Regions(cloud, first, second, line, one, folder)
        regions.add("RegionTwo", f"http://{line.address}")
        yield regions


def test_an_image_comes_over(regions: Regions) -> None:
    theirs = regions.make(DATA, hw_disk_bus="scsi", os_distro="debian", os_version="13", note="theirs", name="theirs")
    image, task = regions.end(regions.begin(theirs["id"]))
    assert task["status"] == "success", task["message"]
    assert (image["status"], image["size"], image["os_hash_value"]) == ("active", len(DATA), theirs["os_hash_value"])
    assert (image["hw_disk_bus"], image["os_distro"], image["os_version"]) == ("scsi", "debian", "12")
    assert image["name"] == "mine"
    assert "note" not in image
    assert regions.data(image["id"]) == DATA


def test_a_private_image_of_others_does_not(regions: Regions) -> None:
    theirs = regions.make(b"private")
    image_id = regions.begin(theirs["id"], headers=regions.headers("alt"))
    assert "has no such image" in regions.failure(image_id, "alt")


def test_no_such_region(regions: Regions) -> None:
    assert "regionfour" in regions.failure(regions.begin(regions.make(b"x")["id"], "regionfour"))


def test_a_region_that_sends_other_data(regions: Regions) -> None:
    """The record is right, the data is not."""
    theirs = regions.make(DATA)
    headers = regions.headers()
    with RemoteRegion(theirs, DATA[:-1] + b"x", headers["X-Auth-Token"]) as lying:
        regions.add("RegionThree", lying.url)
        message = regions.failure(regions.begin(theirs["id"], "RegionThree", headers))
    assert "sha512" in message or "MD5" in message


def test_a_token_that_is_revoked_meanwhile(regions: Regions) -> None:
    theirs = regions.make(DATA)
    headers = regions.headers()
    seen = regions.line.counts.total()
    regions.line.hold()
    image_id = regions.begin(theirs["id"], headers=headers)
    eventually(lambda: regions.line.counts.total() > seen, what="a request to the other region")
    regions.cloud.keystone.revoke(headers["X-Auth-Token"])
    regions.line.let_go()
    assert "does not let the caller in" in regions.failure(image_id)


def test_killed_in_the_middle(regions: Regions) -> None:
    """Whoever goes on acts in the caller's name still."""
    theirs = regions.make(DATA, hw_disk_bus="scsi")
    seen = regions.line.counts.total()
    regions.line.hold()
    image_id = regions.begin(theirs["id"])
    eventually(lambda: regions.line.counts.total() > seen, what="a request to the other region")
    regions.server.kill()
    regions.line.let_go()
    regions.server.restart()
    image, task = regions.end(image_id)
    assert (image["status"], image["os_hash_value"], task["status"]) == ("active", theirs["os_hash_value"], "success")
    assert regions.data(image_id) == DATA
