"""The health check (spec: images-api §3)."""

from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import Settings
from tests.support.service import Service


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, api=replace(settings.api, healthcheck_disable_file=tmp_path / "down"))


async def test_ok_for_anyone(service: Service) -> None:
    for path in ("/healthcheck", "/healthcheck/", "/healthcheck/deep/down"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            response = await service.call("anonymous", method, path)
            assert response.status_code == 200, (method, path)
            assert response.text == "OK"
            assert response.headers["content-type"].startswith("text/plain")


async def test_shapes(service: Service) -> None:
    json_answer = await service.call("anonymous", "GET", "/healthcheck", headers={"accept": "application/json"})
    assert json_answer.text == '{\n    "detailed": false,\n    "reasons": [\n        "OK"\n    ]\n}'
    page = await service.call("anonymous", "GET", "/healthcheck", headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<td>OK</td>" in page.text
    head = await service.call("anonymous", "HEAD", "/healthcheck")
    assert (head.status_code, head.content) == (204, b"")


async def test_disabled_by_file(service: Service, settings: Settings) -> None:
    file = settings.api.healthcheck_disable_file
    assert file is not None
    file.touch()
    response = await service.call("anonymous", "GET", "/healthcheck")
    assert (response.status_code, response.text) == (503, "DISABLED BY FILE")
    assert (await service.call("anonymous", "HEAD", "/healthcheck")).status_code == 503
    file.unlink()
    assert (await service.call("anonymous", "GET", "/healthcheck")).status_code == 200
