"""The judgement when everything has come to rest: of each image, and of what the stores and the database hold."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.process.chaos.story import Attempt, Stories, Story
from tests.support.import_world import STORES, Change, ImportWorld, caller

TIMEOUT_S = 300.0
FIRST = ("upload", "resumable", "glance-direct", "web-download", "glance-download")
UNTOLD = ("upload", "resumable")
"""Those that no task tells of."""
"""The kinds of attempts that give an image its data."""
TERMINAL = ("success", "failure")
LOCK = "os_glance_import_task"
WAITING, FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"
_AFTER: Mapping[str, frozenset[str]] = {
    "": frozenset({"queued"}),
    "queued": frozenset({"saving", "uploading", "importing", "active", "deleted"}),
    "saving": frozenset({"queued", "active", "deleted"}),
    "uploading": frozenset({"queued", "importing", "deleted"}),
    "importing": frozenset({"queued", "uploading", "active", "deleted"}),
    "active": frozenset({"deleted"}),
    "deleted": frozenset(),
}
"""What the status of an image may become: once there is data it stays, and what is deleted stays so."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task as the database has it."""

    id: str
    image_id: str
    status: str
    message: str | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What the database holds at the end."""

    tasks: Mapping[str, Sequence[TaskRow]]
    stores: Mapping[str, Counter[str]]
    staged: frozenset[str]


def judge(world: ImportWorld, stories: Stories) -> list[str]:
    """Everything that is wrong, in words; with the story of each image that has to do with it."""
    found = _findings(world)
    wrong: list[str] = []
    with httpx.Client(base_url=world.url, headers=caller("judge"), timeout=TIMEOUT_S, trust_env=False) as http:
        for story in stories:
            reasons = list(_of_image(http, world, story, found))
            if reasons:
                wrong.append("; ".join(reasons) + f"\n    {story.text()}")
    wrong += _of_journal(world.journal(), stories)
    wrong += _of_stores(world, stories)
    return wrong


def _findings(world: ImportWorld) -> Findings:
    tasks: dict[str, list[TaskRow]] = defaultdict(list)
    rows = world.rows(
        "SELECT tasks.id, tasks.image_id, tasks.status, task_info.message FROM tasks "
        "LEFT JOIN task_info ON task_info.task_id = tasks.id WHERE NOT tasks.deleted"
    )
    for row in rows:
        tasks[row[1]].append(TaskRow(*row))
    stores: dict[str, Counter[str]] = defaultdict(Counter)
    for image_id, uri in world.locations():
        stores[image_id][urlsplit(uri).path.split("/")[-2]] += 1
    return Findings(tasks, stores, frozenset(world.staged()))


def _of_image(http: httpx.Client, world: ImportWorld, story: Story, found: Findings) -> Iterator[str]:
    answer = http.get(f"/v2/images/{story.id}")
    tasks = found.tasks.get(story.id, ())
    yield from _of_tasks(story, tasks)
    if answer.status_code == 404:
        if story.created and story.deleted is False:
            yield "it is gone, and nobody deleted it"
        return
    if answer.status_code != 200:
        yield f"it is answered with {answer.status_code}"
        return
    image = answer.json()
    if story.deleted is True:
        yield f"it was deleted, and is {image['status']}"
    if LOCK in image:
        yield "it is locked"
    if image.get(WAITING):
        yield f"it waits for the stores {image[WAITING]}"
    if image.get(FAILED) and _has_to_work(story):
        yield f"stores failed: {image[FAILED]}"
    judges = {"active": _of_active, "queued": _of_queued, "uploading": _of_uploading}
    if image["status"] not in judges:
        yield f"its status is {image['status']}"
        return
    yield from judges[image["status"]](http, world, story, image, found)


def _of_active(
    http: httpx.Client, world: ImportWorld, story: Story, image: Mapping[str, Any], found: Findings
) -> Iterator[str]:
    if not any(each.kind in FIRST and each.good and each.accepted is not False for each in story.attempts):
        yield "it is active, and nothing could make it so"
    if (image["size"], image["os_hash_algo"], image["os_hash_value"]) != (story.size_bytes, "sha512", story.digest):
        yield f"it has the size {image['size']} and the hash {image['os_hash_value']}"
    stores = set(image["stores"].split(","))
    if found.stores.get(story.id) != Counter(stores):
        yield f"its locations are {dict(found.stores.get(story.id, {}))}, and it tells of {sorted(stores)}"
    promised = _stores_of(each for each in story.attempts if each.good and each.accepted)
    possible = promised | _stores_of(each for each in story.attempts if each.good and each.accepted is None)
    if not stores <= possible or (_has_to_work(story) and not promised <= stores):
        yield f"it is in {sorted(stores)}, asked for were {sorted(promised)}, perhaps {sorted(possible)}"
    for store in sorted(stores):
        data = http.get(f"/v2/images/{story.id}/file", params={"prefer": store}).content
        copy = (world.store_folder(store) / story.id).read_bytes()
        for what, several in (("download", data), ("copy", copy)):
            if hashlib.sha512(several).hexdigest() != story.digest:
                yield f"the {what} from {store} is not its data: {len(several)} bytes"


def _of_queued(
    _http: httpx.Client, _world: ImportWorld, story: Story, image: Mapping[str, Any], found: Findings
) -> Iterator[str]:
    if any(each.kind in FIRST and each.good and each.accepted for each in story.attempts) and (
        _has_to_work(story) or any(each.kind in UNTOLD and each.accepted for each in story.attempts)
    ):
        yield "it is queued, though it got its data"
    left = {name: image[name] for name in ("size", "checksum", "os_hash_algo", "os_hash_value") if image[name]}
    if left:
        yield f"it is queued and has {left}"
    if found.stores.get(story.id):
        yield f"it is queued and has locations: {dict(found.stores[story.id])}"


def _of_uploading(
    _http: httpx.Client, world: ImportWorld, story: Story, image: Mapping[str, Any], found: Findings
) -> Iterator[str]:
    if story.staged is False:
        yield "it is uploading, and nothing was staged"
    if _has_to_work(story) and any(each.good and each.accepted for each in story.attempts):
        yield "it is uploading, though its import was accepted"
    if story.id not in found.staged:
        yield "it is uploading, and its data is not there"
    elif (world.staging / story.id).read_bytes() != story.data():
        yield "what is staged is not its data"
    if image["size"] != story.size_bytes or found.stores.get(story.id):
        yield f"it is uploading with size {image['size']} and the locations {found.stores.get(story.id)}"


def _of_tasks(story: Story, tasks: Sequence[TaskRow]) -> Iterator[str]:
    asked = [each for each in story.attempts if each.kind not in UNTOLD]
    least, most = sum(each.accepted is True for each in asked), sum(each.accepted is not False for each in asked)
    # A client that asked again after silence may have had both of its requests accepted, one after the other.
    if not least <= len(tasks) or (not most and tasks):
        yield f"{len(tasks)} tasks for {least} to {most} imports"
    for task in tasks:
        if task.status not in TERMINAL:
            yield f"task {task.id} is {task.status}"
        elif task.status == "failure" and not task.message:
            yield f"task {task.id} failed without a word"
        elif task.status == "failure" and _has_to_work(story):
            yield f"task {task.id} failed: {task.message}"
        elif task.status == "success" and not any(each.good for each in asked):
            yield f"task {task.id} worked, and could not"


def _has_to_work(story: Story) -> bool:
    """Is there nothing about it that excuses a failure?"""
    return story.deleted is False and not story.cancelled and all(each.good for each in story.attempts)


def _stores_of(attempts: Iterable[Attempt]) -> set[str]:
    return {store for attempt in attempts for store in attempt.stores}


def _of_journal(journal: Sequence[Change], stories: Stories) -> list[str]:
    """Nothing took effect twice, nothing that was over began again."""
    wrong = []
    here: Counter[tuple[str, str]] = Counter()
    for change in journal:
        if change.what == "task" and change.old in TERMINAL:
            wrong.append(f"task {change.id} was {change.old} and became {change.new}")
        elif change.what == "image" and change.new not in _AFTER.get(change.old, frozenset()):
            wrong.append(f"image {change.id} was {change.old} and became {change.new}{_told(stories, change.id)}")
        elif change.what == "location":
            here[change.id, change.new or change.old] += 1 if change.new else -1
            if here[change.id, change.new or change.old] not in (0, 1):
                wrong.append(f"image {change.id} got {change.new or change.old} twice{_told(stories, change.id)}")
    return wrong


def _of_stores(world: ImportWorld, stories: Stories) -> list[str]:
    wrong = []
    status, document, complaints = world.check_stores()
    if status or "Traceback" in complaints or document.get("findings") != []:
        wrong.append(f"the check of stores ended with {status}: {document} {complaints}")
    for store in document.get("stores", ()):
        counts = {
            name: store[name]
            for name in ("missing", "mismatched", "orphaned", "foreign", "unreadable", "waiting", "busy")
            if store[name]
        }
        if counts or store["trouble"]:
            wrong.append(f"store {store['store']}: {counts} {store['trouble']}")
    if {store["store"] for store in document.get("stores", ())} != set(STORES):
        wrong.append(f"not all stores were checked: {document}")
    recorded = {(urlsplit(uri).path.split("/")[-2], image_id) for image_id, uri in world.locations()}
    for store_id in STORES:
        there = {entry.name for entry in world.store_folder(store_id).iterdir()}
        wrong += [
            f"{name} lies in the store {store_id}, and no record says so{_told(stories, name)}"
            for name in there - {image_id for store, image_id in recorded if store == store_id}
        ]
    return wrong


def _told(stories: Stories, name: str) -> str:
    story = stories.get(name.strip(".")[:36])
    return f"\n    {story.text()}" if story is not None else ""
