"""Jobs of images that have come to another project since: the new owner's image is not the old one's to import into."""

from dataclasses import replace

import pytest

from blick.conf.settings import Settings
from blick.worker import job_worker
from tests.support.server import free_port
from tests.support.service import PATCH_2_1, Service
from tests.support.web_stores import with_web_store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """This machine's own servers may be fetched from; policy files let every member import."""
    usual = with_web_store(settings)
    settings.policy.policy_file.write_text('modify_image: "role:member"\n')
    imports = replace(settings.imports, uri_filter=usual.imports.uri_filter)
    return replace(usual, imports=imports, fetch=replace(settings.fetch, retries=0))


async def failed(service: Service) -> tuple[str, str]:
    """The ids of an image that everybody may see, and of the job that did not fill it."""
    image_id = str((await service.create(visibility="community"))["id"])
    method = {"name": "web-download", "uri": f"http://127.0.0.1:{free_port()}/x"}
    answer = await service.call("owner", "POST", f"/v2/images/{image_id}/import", json={"method": method})
    assert answer.status_code == 202, answer.text
    assert await job_worker(service.services).work_off() == 1
    [job] = (await service.call("owner", "GET", f"/v2/jobs?image_id={image_id}")).json()["jobs"]
    assert job["status"] == "failure"
    return image_id, job["id"]


@pytest.mark.parametrize(("owner", "expected"), [("p1", 202), ("p2", 403)])
async def test_only_its_owner_tries_an_import_again(service: Service, owner: str, expected: int) -> None:
    image_id, job_id = await failed(service)
    change = [{"op": "replace", "path": "/owner", "value": owner}]
    path = f"/v2/images/{image_id}"
    answer = await service.call("admin", "PATCH", path, json=change, headers=PATCH_2_1)
    assert answer.status_code == 200, answer.text
    body = {"method": {"name": "web-download", "uri": "http://127.0.0.1/x"}}
    if owner != "p1":
        assert (await service.call("owner", "POST", f"{path}/import", json=body)).status_code == 403
    answer = await service.call("owner", "POST", f"/v2/jobs/{job_id}/actions/retry")
    assert answer.status_code == expected, answer.text
    if owner != "p1":
        assert "os_glance_import_task" not in await service.show(image_id)
        assert (await service.call("admin", "POST", f"/v2/jobs/{job_id}/actions/retry")).status_code == 202
