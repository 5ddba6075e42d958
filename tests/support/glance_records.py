"""Records as a deployment collects them: made through the Images API, read through it, and read row by row."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import create_engine, inspect, make_url, text

PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
OCTETS = {"content-type": "application/octet-stream"}
FORMATS = {"disk_format": "raw", "container_format": "bare"}

Answers = Mapping[str, Any]


@dataclass(frozen=True)
class Collection:
    """What `collect` made: the images by a word for each."""

    ids: Mapping[str, str]

    def __getitem__(self, word: str) -> str:
        return self.ids[word]


class Caller:
    """Calls that must succeed, as the administrator that everybody is without an identity service."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        """The answer's document, or None where there is none."""
        answer = self.http.request(method, f"/v2{path}", **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers.get("content-type", "") and answer.content else None

    def create(self, data: bytes | None = None, **attributes: Any) -> str:
        """A new image, with data if there are any; gives its id."""
        image_id: str = self("POST", "/images", json={**FORMATS, **attributes})["id"]
        if data is not None:
            self.upload(image_id, data)
        return image_id

    def upload(self, image_id: str, data: bytes) -> None:
        self("PUT", f"/images/{image_id}/file", content=data, headers=OCTETS)

    def patch(self, image_id: str, *operations: tuple[str, str, Any]) -> None:
        changes = [
            {"op": operation, "path": path} | ({} if operation == "remove" else {"value": value})
            for operation, path, value in operations
        ]
        self("PATCH", f"/images/{image_id}", content=json.dumps(changes), headers=PATCH)

    def share(self, image_id: str, member: str, status: str = "pending") -> None:
        self("POST", f"/images/{image_id}/members", json={"member": member})
        if status != "pending":
            self("PUT", f"/images/{image_id}/members/{member}", json={"status": status})


def collect(call: Caller, locations: Sequence[str]) -> Collection:
    """Images in every state that the API leads to, with members, tags and properties. `locations` are two URLs."""
    ids = {"queued": call.create(name="queued", owner="p1", min_disk=3, min_ram=512)}
    ids["bare"] = call("POST", "/images", json={})["id"]
    for visibility in ("public", "community", "shared", "private"):
        ids[visibility] = call.create(visibility.encode() * 9, name=visibility, visibility=visibility, owner="p1")
    ids["words"] = call.create(
        b"x" * 1000,
        name="Zürich ümläut 名前",
        tags=["alpha", "βήτα", "tag with spaces"],
        owner="p2",
        os_distro="debian",
        größe="ø",
        empty="",
        long="l" * 5000,
        os_version='quoted "12" \\ back',
    )
    call.patch(ids["words"], ("remove", "/os_distro", None), ("add", "/os_distro", "again"), ("remove", "/empty", None))
    call("PUT", f"/images/{ids['words']}/tags/later")
    call("DELETE", f"/images/{ids['words']}/tags/alpha")
    ids["protected"] = call.create(b"protected", name="protected", protected=True, owner="p1")
    ids["hidden"] = call.create(b"hidden", name="hidden", os_hidden=True, visibility="public")
    ids["deactivated"] = call.create(b"deactivated", name="deactivated", owner="p2")
    call("POST", f"/images/{ids['deactivated']}/actions/deactivate")
    ids["empty"] = call.create(b"", name="empty")
    for number, status in enumerate(("pending", "accepted", "rejected")):
        call.share(ids["shared"], f"member-{number}", status)
    call.share(ids["shared"], "left")
    call("DELETE", f"/images/{ids['shared']}/members/left")
    ids["staged"] = call.create(name="staged")
    call("PUT", f"/images/{ids['staged']}/stage", content=b"staged", headers=OCTETS)
    ids["two places"] = call.create(name="two places")
    call.patch(
        ids["two places"],
        ("add", "/locations/-", {"url": locations[0], "metadata": {}}),
        ("add", "/locations/-", {"url": locations[1], "metadata": {"rack": "7"}}),
    )
    for word in ("deleted", "deleted before upload"):
        image_id = call.create(b"gone" if word == "deleted" else None, name=word, tags=["gone"], gone="too")
        call.share(image_id, "member-0")
        call("DELETE", f"/images/{image_id}")
        ids[word] = image_id
    return Collection(ids)


def answers(call: Caller, collection: Collection) -> Answers:
    """Everything that the API says about the images, in one shape whatever the order of keys, tags and members."""
    said: dict[str, Any] = {}
    for query in ("", "visibility=all", "os_hidden=true&visibility=all", "status=active", "owner=p1", "tag=later"):
        said[f"list {query}"] = [image["id"] for image in _pages(call, f"/images?limit=4&sort=id:asc&{query}")]
    for word, image_id in collection.ids.items():
        shown = call.http.get(f"/v2/images/{image_id}")
        said[word] = _settled(shown.json()) if shown.status_code == 200 else shown.status_code
        data = call.http.get(f"/v2/images/{image_id}/file")
        content = hashlib.sha256(data.content).hexdigest() if data.status_code == 200 else None
        said[f"data of {word}"] = (data.status_code, content)
        members = call.http.get(f"/v2/images/{image_id}/members")
        found = members.json()["members"] if members.status_code == 200 else []
        said[f"members of {word}"] = (members.status_code, sorted(found, key=lambda member: str(member["member_id"])))
    return said


def _pages(call: Caller, path: str) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = []
    while path:
        page = call("GET", path)
        images += page["images"]
        path = page.get("next", "").removeprefix("/v2")
    return images


def _settled(image: dict[str, Any]) -> dict[str, Any]:
    return image | {"tags": sorted(image["tags"])}


def rows(url: str, *, ours: bool = False) -> Mapping[str, Sequence[str]]:
    """Every row of every table of Glance's, as the driver gives it; of Blick's too with `ours`."""
    engine = create_engine(make_url(url))
    with engine.connect() as connection:
        tables = [name for name in inspect(connection).get_table_names() if ours or not name.startswith("blick_")]
        found = {name: sorted(map(str, connection.execute(text(f"SELECT * FROM {name}")))) for name in tables}
    engine.dispose()
    return found
