"""Tasks show no user and password of a URI, whatever became of what was asked for."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from blick.conf.settings import Settings
from blick.worker import job_worker
from tests.support.service import Service
from tests.support.web_stores import with_web_store

UNKNOWN = "00000000-0000-4000-8000-000000000000"
URI = "http://user:p4ssw0rd@127.0.0.1:1/x"
ODD_URI = "http://user:p4ss/p4ssw0rd@127.0.0.1:1/x"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """This machine's own servers may be fetched from; nothing is there."""
    usual = with_web_store(settings)
    imports = replace(settings.imports, uri_filter=usual.imports.uri_filter)
    return replace(usual, imports=imports, fetch=replace(settings.fetch, retries=0))


def web_download(image_id: str, uri: str) -> dict[str, Any]:
    return {"image_id": image_id, "import_req": {"method": {"name": "web-download", "uri": uri}}}


@pytest.mark.parametrize("uri", [URI, ODD_URI])
@pytest.mark.parametrize("kind", ["api_image_import", "location_import", "import"])
@pytest.mark.parametrize("exists", [True, False])
async def test_tasks_by_name(
    service: Service, caplog: pytest.LogCaptureFixture, kind: str, uri: str, exists: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    image_id = str((await service.create())["id"]) if exists else UNKNOWN
    asked = {
        "api_image_import": web_download(image_id, uri),
        "location_import": {"image_id": image_id, "loc_url": uri},
        "import": {"import_from": uri, "import_from_format": "raw", "image_properties": {}},
    }[kind]
    made = await service.call("admin", "POST", "/v2/tasks", json={"type": kind, "input": asked})
    assert made.status_code in (201, 400)
    await job_worker(service.services).work_off()
    texts = [made.text, caplog.text]
    texts += [(await service.call("admin", "GET", f"/v2/{what}")).text for what in ("tasks", "jobs")]
    if made.status_code == 201:
        texts.append((await service.call("admin", "GET", f"/v2/tasks/{made.json()['id']}")).text)
    if exists:
        texts.append((await service.call("admin", "GET", f"/v2/images/{image_id}/tasks")).text)
    assert not [text for text in texts if "p4ss" in text]


async def test_a_location(service: Service) -> None:
    image_id = (await service.create())["id"]
    path = f"/v2/images/{image_id}"
    answer = await service.call("owner", "POST", f"{path}/locations", json={"url": URI})
    assert answer.status_code == 202, answer.text
    await job_worker(service.services).work_off()
    [task] = (await service.call("owner", "GET", f"{path}/tasks")).json()["tasks"]
    assert task["input"]["loc_url"] == "http://127.0.0.1:1/x"
    assert "p4ss" not in str(task)
