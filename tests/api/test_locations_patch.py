"""Locations through PATCH (spec: images-api §15.1)."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from blick.conf.settings import QuotaSettings, Settings
from blick.db.tables import location_deletes
from tests.support.server import free_port
from tests.support.service import OCTETS, PATCH_2_0, PATCH_2_1, Service
from tests.support.web_server import WebServer
from tests.support.web_stores import with_web_store

DATA = b"0123456789" * 1000
SHA512 = hashlib.sha512(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_web_store(settings)


async def patch(service: Service, image: dict[str, Any], *changes: Any, who: str = "owner") -> httpx.Response:
    return await service.call(who, "PATCH", f"/v2/images/{image['id']}", json=list(changes), headers=PATCH_2_1)


def place(url: str, metadata: dict[str, Any] | None = None, **validation: str) -> dict[str, Any]:
    found: dict[str, Any] = {"url": url, "metadata": metadata or {}}
    return found | ({"validation_data": validation} if validation else {})


def add(*given: Any, at: str = "-", **more: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/locations/{at}", "value": place(*given, **more)}


def put(*places: Any) -> dict[str, Any]:
    return {"op": "replace", "path": "/locations", "value": list(places)}


def drop(index: int | str) -> dict[str, Any]:
    return {"op": "remove", "path": f"/locations/{index}"}


async def active(service: Service, web: WebServer, *urls: str, who: str = "owner") -> dict[str, Any]:
    """An image with these locations; one of its own without any given."""
    image = await service.create(who)
    changes = [add(url) for url in urls or (web.put(DATA),)]
    response = await patch(service, image, *changes, who=who)
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


def urls_of(image: dict[str, Any]) -> list[str]:
    return [location["url"] for location in image["locations"]]


async def test_a_location_makes_a_queued_image_active(service: Service, web: WebServer) -> None:
    image = await service.create()
    assert image["locations"] == []
    url = web.put(DATA)
    response = await patch(service, image, add(url, {"a": "b"}))
    assert response.status_code == 200
    shown = response.json()
    assert shown == await service.show(image["id"])
    assert shown["locations"] == [{"url": url, "metadata": {"a": "b"}}]
    assert (shown["status"], shown["size"], shown["virtual_size"]) == ("active", len(DATA), None)
    assert (shown["checksum"], shown["os_hash_value"]) == (None, None)
    data = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert (data.status_code, data.content) == (200, DATA)
    part = await service.call("owner", "GET", f"/v2/images/{image['id']}/file", headers={"range": "bytes=9995-"})
    assert (part.status_code, part.content) == (206, b"56789")
    assert part.headers["content-range"] == "bytes 9995-9999/10000"


async def test_the_old_notation(service: Service, web: WebServer) -> None:
    image = await service.create()
    change = [{"add": "/locations/-", "value": place(web.put(DATA))}]
    path = f"/v2/images/{image['id']}"
    assert (await service.call("owner", "PATCH", path, json=change, headers=PATCH_2_0)).json()["status"] == "active"
    assert (
        await service.call("admin", "PATCH", path, json=[{"remove": "/locations/0"}], headers=PATCH_2_0)
    ).status_code == 403


async def test_replacing_nothing_adds(service: Service, web: WebServer) -> None:
    image = await service.create()
    one, two = web.put(DATA), web.put(DATA)
    shown = (await patch(service, image, put(place(one), place(two)))).json()
    assert shown["status"] == "active"
    assert urls_of(shown) == [one, two]


async def test_order_is_that_of_creation(service: Service, web: WebServer) -> None:
    first, second, third = (web.put(DATA) for _ in range(3))
    image = await active(service, web, first)
    assert urls_of((await patch(service, image, add(second, at="0"))).json()) == [first, second]
    assert urls_of((await patch(service, image, add(third, at="99"))).json()) == [first, second, third]


async def test_replacing_the_same_set_changes_order_and_metadata(service: Service, web: WebServer) -> None:
    one, two = web.put(DATA), web.put(DATA)
    image = await active(service, web, one, two)
    asked = len(web.requests)
    shown = (await patch(service, image, put(place(two, {"x": "2"}), place(one)))).json()
    assert shown["locations"] == [{"url": two, "metadata": {"x": "2"}}, {"url": one, "metadata": {}}]
    assert (await service.show(image["id"]))["locations"] == shown["locations"]
    assert len(web.requests) == asked, "known locations need no look"
    for wrong in ([place(one)], [place(one), place(web.put(DATA))], [place(one), place(two), place(one, {"y": "1"})]):
        assert (await patch(service, image, put(*wrong))).status_code == 400
    assert (await patch(service, image, put())).status_code == 403
    assert (await service.show(image["id"]))["locations"] == shown["locations"]


async def test_uploaded_data_has_a_location_too(service: Service, web: WebServer) -> None:
    image = await service.create_active(DATA)
    [own] = image["locations"]
    assert own["url"].startswith("file://")
    assert (await patch(service, image, put({**own, "metadata": {"a": "b"}}))).status_code == 200
    url = web.put(DATA)
    assert urls_of((await patch(service, image, add(url))).json()) == [own["url"], url]
    removed = await patch(service, image, drop(0), who="admin")
    assert removed.status_code == 200
    assert urls_of(removed.json()) == [url]
    assert service.stored_files == []
    data = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert data.content == DATA


async def test_removing(service: Service, web: WebServer) -> None:
    one, two = web.put(DATA), web.put(DATA)
    image = await active(service, web, one, two)
    assert (await patch(service, image, drop(0))).status_code == 403, "up to administrators by default"
    for wrong in (2, 99):
        assert (await patch(service, image, drop(wrong), who="admin")).status_code == 400
    assert (await patch(service, image, drop("x"), who="admin")).status_code == 400
    assert urls_of((await patch(service, image, drop(0), who="admin")).json()) == [two]
    assert (await patch(service, image, drop(0), who="admin")).status_code == 403, "the last one"
    assert (await patch(service, image, add(one), drop(0), who="admin")).json()["locations"] == [place(one)]
    with service.services.database.engine.connect() as connection:
        assert connection.execute(select(location_deletes)).all() == [], "nothing of others' servers waits for removal"


async def test_all_or_nothing(service: Service, web: WebServer) -> None:
    image = await service.create()
    name = {"op": "replace", "path": "/name", "value": "new"}
    both = await patch(service, image, name, add(web.put(DATA)), add(web.url("/status/404")))
    assert both.status_code == 400
    shown = await service.show(image["id"])
    assert (shown["status"], shown["name"], shown["locations"]) == ("queued", None, [])
    assert (await patch(service, image, add(web.put(DATA)), name)).json()["name"] == "new"


async def test_formats_have_to_be_set(service: Service, web: WebServer) -> None:
    image = await service.create(disk_format=None, container_format=None)
    location = add(web.put(DATA))
    assert (await patch(service, image, location)).status_code == 400
    formats = [
        {"op": "replace", "path": f"/{name}", "value": value}
        for name, value in (("disk_format", "raw"), ("container_format", "bare"))
    ]
    assert (await patch(service, image, *formats, location)).json()["status"] == "active"


async def test_status(service: Service, web: WebServer) -> None:
    image = await service.create()
    assert (await patch(service, image, drop(0), who="admin")).status_code == 409
    image = await active(service, web)
    await service.call("owner", "POST", f"/v2/images/{image['id']}/actions/deactivate")
    for change in (add(web.put(DATA)), put(place(image["locations"][0]["url"])), drop(0)):
        assert (await patch(service, image, change, who="admin")).status_code == 409
    assert (await service.show(image["id"]))["locations"] == []


async def test_urls_that_nobody_may_name(service: Service, web: WebServer, tmp_path: Path) -> None:
    secret = tmp_path / "images" / "secret"
    secret.write_bytes(b"secret")
    image = await service.create()
    wrong = [
        f"file://{secret}",
        f"FILE://{secret}",
        f"filesystem://{secret}",
        "swift+config://ref/glance/x",
        "nobody://x",
        "x",
        "rbd://a/b/c/snap",
        "http://169.254.169.254/latest",
        "http://images.example:81/x",
        f"http://127.1:{web.port}/plain/x",
        f"http://nothing.invalid:{web.port}/x",
        f"http://127.0.0.1:{free_port()}/x",
        web.url("/status/404"),
        web.url("/status/500"),
        web.url("/garbage/x"),
        web.put(b""),
        web.put(DATA, "unsized"),
        web.url("/redirect-to/http://169.254.169.254/"),
        "http://" + "a" * 255,
    ]
    for url in wrong:
        response = await patch(service, image, add(url))
        assert response.status_code == 400, (url, response.text)
    assert (await service.show(image["id"]))["status"] == "queued"


async def test_store_ids_are_not_believed(service: Service, web: WebServer) -> None:
    """Nobody makes one store read what another one keeps."""
    image = await service.create()
    url = web.put(DATA)
    shown = (await patch(service, image, add(url, {"store": "file", "k": "v"}))).json()
    assert shown["locations"] == [place(url, {"store": "http", "k": "v"})]
    assert (await service.call("owner", "GET", f"/v2/images/{image['id']}/file")).content == DATA


async def test_doubles(service: Service, web: WebServer) -> None:
    url = web.put(DATA)
    image = await active(service, web, url)
    assert (await patch(service, image, add(url))).status_code == 400
    assert (await patch(service, image, add(url, {"a": "b"}))).status_code == 200
    assert (await patch(service, image, put(place(url), place(url)))).status_code == 400


async def test_metadata(service: Service, web: WebServer) -> None:
    image = await service.create()
    for wrong in ({"n": 1}, {"n": None}, {"n": {"x": True}}, {"n": ["a", 1.5]}):
        assert (await patch(service, image, add(web.put(DATA), wrong))).status_code == 400
    good = {"a": "b", "c": ["d", {"e": []}]}
    assert (await patch(service, image, add(web.put(DATA), good))).json()["locations"][0]["metadata"] == good


async def test_another_size_is_another_image(service: Service, web: WebServer) -> None:
    image = await active(service, web)
    assert (await patch(service, image, add(web.put(DATA + b"x")))).status_code == 400
    queued = await service.create()
    assert (await patch(service, queued, add(web.put(DATA)), add(web.put(b"x")))).status_code == 400


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(image_location_quota=2, image_size_cap_bytes=len(DATA)))

    async def test_number(self, service: Service, web: WebServer) -> None:
        one, two, three = (web.put(DATA) for _ in range(3))
        image = await service.create()
        assert (await patch(service, image, put(place(one), place(two), place(three)))).status_code == 413
        image = await active(service, web, one, two)
        assert (await patch(service, image, add(three))).status_code == 413
        assert (await patch(service, image, put(place(one), place(two, {"a": "b"})))).status_code == 200

    async def test_size(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        assert (await patch(service, image, add(web.put(DATA + b"x")))).status_code == 413  # D23
        assert (await service.show(image["id"]))["status"] == "queued"

    async def test_racing_additions_respect_the_number(self, service: Service, web: WebServer) -> None:
        image = await active(service, web)
        urls = [web.put(DATA) for _ in range(4)]
        answers = await asyncio.gather(*(patch(service, image, add(url)) for url in urls))
        assert sorted(answer.status_code for answer in answers) == [200, 413, 413, 413]
        assert len((await service.show(image["id"]))["locations"]) == 2


class TestStorageQuota:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, quotas=QuotaSettings(user_storage_quota_bytes=2 * len(DATA)))

    async def test_every_location_counts(self, service: Service, web: WebServer) -> None:
        image = await active(service, web, web.put(DATA), web.put(DATA))
        assert (await patch(service, image, add(web.put(DATA)))).status_code == 413
        other = await service.create()
        assert (await patch(service, other, add(web.put(DATA)))).status_code == 413
        assert (await service.show(other["id"]))["status"] == "queued"
        assert (await patch(service, image, drop(0), who="admin")).status_code == 200
        assert (await patch(service, other, add(web.put(DATA)))).status_code == 200


async def test_racing_first_locations(service: Service, web: WebServer) -> None:
    image = await service.create()
    urls = [web.put(DATA) for _ in range(4)]
    answers = await asyncio.gather(*(patch(service, image, add(url)) for url in urls))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    winner = next(answer for answer in answers if answer.status_code == 200)
    assert (await service.show(image["id"]))["locations"] == winner.json()["locations"]


async def test_racing_removals_leave_one(service: Service, web: WebServer) -> None:
    image = await active(service, web, web.put(DATA), web.put(DATA))
    answers = await asyncio.gather(*(patch(service, image, drop(index), who="admin") for index in (0, 1)))
    assert sorted(answer.status_code for answer in answers) == [200, 403]
    assert len((await service.show(image["id"]))["locations"]) == 1


async def test_racing_with_an_upload(service: Service, web: WebServer) -> None:
    for _ in range(5):
        image = await service.create()
        path = f"/v2/images/{image['id']}/file"
        upload, location = await asyncio.gather(
            service.call("owner", "PUT", path, content=DATA, headers=OCTETS), patch(service, image, add(web.put(DATA)))
        )
        assert {upload.status_code, location.status_code} in ({204, 409}, {200, 409})
        shown = await service.show(image["id"])
        assert (shown["status"], len(shown["locations"])) == ("active", 1)


class TestValidationData:
    async def test_is_recorded_and_echoed_once(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        claimed = {"checksum": MD5.upper(), "os_hash_algo": "sha512", "os_hash_value": SHA512}
        url = web.put(DATA)
        shown = (await patch(service, image, add(url, **claimed))).json()
        assert shown["locations"] == [{"url": url, "metadata": {}, "validation_data": claimed}]
        assert (shown["checksum"], shown["os_hash_algo"], shown["os_hash_value"]) == (MD5, "sha512", SHA512)
        assert (await service.show(image["id"]))["locations"] == [place(url)]
        again = await patch(service, image, add(web.put(DATA), **claimed))
        assert again.status_code == 200, "the same as what is stored"
        for other in ({"os_hash_value": "0" * 128}, {"checksum": "0" * 32}):
            assert (await patch(service, image, add(web.put(DATA), **(claimed | other)))).status_code == 409

    @pytest.mark.parametrize(
        "wrong",
        [
            {"os_hash_algo": "sha256", "os_hash_value": "0" * 64},
            {"os_hash_algo": "sha512", "os_hash_value": "0" * 127},
            {"os_hash_algo": "sha512", "os_hash_value": "x" * 128},
            {"os_hash_algo": "sha512", "os_hash_value": SHA512, "checksum": "x" * 32},
        ],
    )
    async def test_has_to_be_plausible(self, service: Service, web: WebServer, wrong: dict[str, str]) -> None:
        image = await service.create()
        assert (await patch(service, image, add(web.put(DATA), **wrong))).status_code == 409
        assert (await service.show(image["id"]))["status"] == "queued"

    async def test_has_a_schema(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        for wrong in ({"os_hash_algo": "sha512"}, {"os_hash_value": SHA512}, {"checksum": MD5}, {"else": "x"}):
            assert (await patch(service, image, add(web.put(DATA), **wrong))).status_code == 400

    async def test_does_not_contradict_itself(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        one = add(web.put(DATA), os_hash_algo="sha512", os_hash_value=SHA512)
        two = add(web.put(DATA), os_hash_algo="sha512", os_hash_value="0" * 128)
        assert (await patch(service, image, one, two)).status_code == 409
        assert (await patch(service, image, one, add(web.put(DATA)))).status_code == 200

    async def test_of_an_active_image_without_hashes(self, service: Service, web: WebServer) -> None:
        image = await active(service, web)
        late = add(web.put(DATA), os_hash_algo="sha512", os_hash_value=SHA512)
        assert (await patch(service, image, late)).status_code == 409


async def test_who_may(service: Service, web: WebServer, settings: Settings) -> None:
    expected = {"owner": 200, "admin": 200, "reader": 403, "other": 404, "roleless": 404, "anonymous": 401}
    for who, status in expected.items():
        image = await service.create()
        assert (await patch(service, image, add(web.put(DATA)), who=who)).status_code == status, who
    expected = {"owner": 403, "reader": 403, "other": 404, "roleless": 404, "anonymous": 401, "admin": 200}
    image = await active(service, web, web.put(DATA), web.put(DATA))
    for who, status in expected.items():
        assert (await patch(service, image, drop(0), who=who)).status_code == status, who
    public = await active(service, web, who="admin")
    await patch(service, public, {"op": "replace", "path": "/visibility", "value": "public"}, who="admin")
    assert (await patch(service, public, add(web.put(DATA)), who="other")).status_code == 403


@pytest.mark.parametrize("rule", ["set_image_location", "delete_image_location"])
async def test_policies(service: Service, web: WebServer, settings: Settings, rule: str) -> None:
    image = await active(service, web, web.put(DATA), web.put(DATA))
    settings.policy.policy_file.write_text(f'{rule}: "!"\n')
    expected = {"set_image_location": [403, 403, 200], "delete_image_location": [200, 200, 403]}[rule]
    same = put(*image["locations"])
    answers = [await patch(service, image, change, who="admin") for change in (same, add(web.put(DATA)), drop(0))]
    assert [answer.status_code for answer in answers] == expected


async def test_policy_lets_an_owner_remove_but_not_strangers_write(
    service: Service, web: WebServer, settings: Settings
) -> None:
    settings.policy.policy_file.write_text('delete_image_location: ""\nset_image_location: ""\n')
    image = await active(service, web, web.put(DATA), web.put(DATA))
    await patch(service, image, {"op": "replace", "path": "/visibility", "value": "community"})
    for change in (drop(0), add(web.put(DATA))):
        assert (await patch(service, image, change, who="other")).status_code == 403
        assert (await patch(service, image, change)).status_code == 200


class TestSeveralStores:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Path) -> Settings:
        only = replace(settings.stores, stores=settings.stores.stores[:1])
        return with_web_store(replace(settings, stores=only), multi_store=True)

    async def test_the_store_is_filled_in(self, service: Service, web: WebServer) -> None:
        image = await service.create()
        url = web.put(DATA)
        shown = (await patch(service, image, add(url, {"store": "file"}))).json()
        assert shown["locations"] == [place(url, {"store": "web"})]
        assert shown["stores"] == "web"
        assert (await patch(service, image, add(url, {"store": "web"}))).status_code == 400, "the same again"
        assert (await patch(service, image, put(place(url)))).json()["locations"] == [place(url, {"store": "web"})]

    async def test_uploading_into_the_web(self, service: Service) -> None:
        image = await service.create()
        headers = OCTETS | {"x-image-meta-store": "web"}
        path = f"/v2/images/{image['id']}/file"
        response = await service.call("owner", "PUT", path, content=DATA, headers=headers)
        assert response.status_code == 410
        assert (await service.show(image["id"]))["status"] == "queued"


async def test_trouble_with_a_store_is_an_answer(service: Service, web: WebServer) -> None:
    whole = await active(service, web, web.put(DATA, "whole"))
    path = f"/v2/images/{whole['id']}/file"
    assert (await service.call("owner", "GET", path, headers={"range": "bytes=5-9"})).status_code == 400
    assert (await service.call("owner", "GET", path, headers={"range": "bytes=0-4"})).content == DATA[:5]
    lying = await active(service, web, web.put(DATA))
    web.objects["object-1"] = DATA[:-1]  # the second object of this test
    assert (await service.call("owner", "GET", f"/v2/images/{lying['id']}/file")).status_code == 500
    gone = await active(service, web, web.put(DATA))
    web.objects.clear()
    assert (await service.call("owner", "GET", f"/v2/images/{gone['id']}/file")).status_code == 404
    assert (await service.call("owner", "DELETE", f"/v2/images/{gone['id']}")).status_code == 204
    other = await active(service, web, web.put(DATA))
    web.stop()
    assert (await service.call("owner", "GET", f"/v2/images/{other['id']}/file")).status_code == 503
