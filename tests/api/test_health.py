"""The health check (spec: images-api §3)."""

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from blick.conf.settings import HealthSettings, Settings
from blick.http.health import Health
from tests.support.service import Service


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, health=HealthSettings(disable_by_files=((None, tmp_path / "down"),)))


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
    [(_, file)] = settings.health.disable_by_files
    file.touch()
    response = await service.call("anonymous", "GET", "/healthcheck")
    assert (response.status_code, response.text) == (503, "DISABLED BY FILE")
    assert (await service.call("anonymous", "HEAD", "/healthcheck")).status_code == 503
    file.unlink()
    assert (await service.call("anonymous", "GET", "/healthcheck")).status_code == 200


def asked(
    settings: HealthSettings, accept: str = "", peer: str = "127.0.0.1", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> tuple[int, str]:
    """Status and text of one answer of a service at port 9292; 404 where there is none."""
    scope = {"type": "http", "method": "GET", "headers": headers, "client": (peer, 1)}
    answer = Health(settings, 9292).answer(scope, accept)
    return (answer.status_code, bytes(answer.body).decode()) if answer else (404, "")


def test_files_of_a_port(tmp_path: Path) -> None:
    file = tmp_path / "down"
    ours, other = (HealthSettings(disable_by_files=((port, file),)) for port in (9292, 9191))
    assert asked(ours) == asked(other) == (200, "OK")
    file.touch()
    assert asked(ours) == (503, "DISABLED BY FILE")
    assert asked(other) == (200, "OK")


def test_files_that_must_be_there(tmp_path: Path) -> None:
    files = (tmp_path / "one", tmp_path / "<two>")
    settings = HealthSettings(enable_by_files=files)
    files[0].touch()
    assert asked(settings) == (503, "FILE PATH MISSING")
    assert "two" not in asked(settings, "application/json")[1]
    detailed = replace(settings, detailed=True)
    [reason] = json.loads(asked(detailed, "application/json")[1])["reasons"]
    assert reason == {
        "class": "enable_by_files",
        "details": f"File path {files[1]} is missing",
        "reason": "FILE PATH MISSING",
    }
    assert "&lt;two&gt;" in asked(detailed, "text/html")[1]
    files[1].touch()
    assert asked(settings) == (200, "OK")


def test_who_may_ask() -> None:
    ranges = HealthSettings(allowed_source_ranges=(ip_network("10.0.0.0/8"), ip_network("::1")))
    allowed = {peer: asked(ranges, peer=peer)[0] for peer in ("10.1.2.3", "::1", "::ffff:10.1.2.3", "11.0.0.1", "x")}
    assert allowed == {"10.1.2.3": 200, "::1": 200, "::ffff:10.1.2.3": 200, "11.0.0.1": 404, "x": 404}
    direct = HealthSettings(ignore_proxied_requests=True)
    assert asked(direct)[0] == 200
    assert asked(direct, headers=((b"x-forwarded-for", b"1.2.3.4"),))[0] == 404
    assert asked(HealthSettings(), headers=((b"x-forwarded-for", b"1.2.3.4"),))[0] == 200


class TestStrangers:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, health=HealthSettings(allowed_source_ranges=(ip_network("10.0.0.0/8"),)))

    async def test_they_find_nothing(self, service: Service) -> None:
        answer = await service.call("anonymous", "GET", "/healthcheck")
        assert answer.status_code == 404


def test_a_store_in_trouble_is_told_of_in_detail_and_keeps_nobody_away() -> None:
    scope = {"type": "http", "method": "GET", "headers": (), "client": ("127.0.0.1", 1)}
    for detailed in (False, True):
        health = Health(HealthSettings(detailed=detailed), 9292, lambda: {"far": "no answer"})
        answer = health.answer(scope, "application/json")
        assert answer is not None
        assert answer.status_code == 200
        told = json.loads(bytes(answer.body))["reasons"]
        far = {"class": "stores", "details": "Store far: no answer", "reason": "STORE UNAVAILABLE"}
        assert told == ([far] if detailed else ["OK"])
