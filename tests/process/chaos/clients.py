"""Clients that go on whatever happens to the service: each works on images of its own, at random, until it is told to
stop.

An answer that did not come leaves both possible; sometimes the client asks again, as automation does, sometimes it
leaves it at that.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.process.chaos.pieces import HangUp, PieceByPiece
from tests.process.chaos.region import NAME, Region
from tests.process.chaos.story import Attempt, Stories, Story
from tests.support.import_world import MIB, STORES, caller
from tests.support.web_server import WebServer

FORMATS = {"disk_format": "raw", "container_format": "bare"}
OCTETS = {"Content-Type": "application/octet-stream"}
LOCK = "os_glance_import_task"
TIMEOUT_S = 120.0
PIECE_BYTES = 256 * 1024
LARGEST_MIB = 8
RETRIES = 40
RETRY_S = (0.05, 0.4)
GOOD_MANNERS = ("plain", "plain", "whole", "no-head", "unsized", "chunked", "slow", "slow", "breaking")
BAD_MANNERS = ("short", "chunked-unfinished", "head-lies", "status/404", "garbage")
REMEMBERED = 30
"""So many of its latest images a client goes on working with."""

Answer = httpx.Response | None


@dataclass
class Client:
    """One of them; `run` is the body of its thread. What goes wrong in it is in `crash`."""

    name: str
    url: str
    web: WebServer
    region: Region
    stories: Stories
    chance: random.Random
    stop: threading.Event
    crash: BaseException | None = None

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, headers=caller(self.name), timeout=TIMEOUT_S, trust_env=False)
        self._mine: list[Story] = []

    def run(self) -> None:
        """Work until `stop` is set."""
        works: Sequence[tuple[int, Callable[[], None]]] = (
            (3, self.upload),
            (5, self.stage_and_import),
            (5, self.import_from_web),
            (2, self.import_from_region),
            (4, self.upload_in_pieces),
            (3, self.copy),
            (2, self.delete),
            (1, self.hang_up),
            (2, self.cancel),
        )
        weights, actions = zip(*works, strict=True)
        try:
            while not self.stop.is_set():
                self.chance.choices(actions, weights)[0]()
        except BaseException as failure:
            self.crash = failure
            raise
        finally:
            self._http.close()

    def upload(self) -> None:
        """PUT file."""
        story = self.create()
        if story is None:
            return
        store = self.chance.choice(STORES)
        attempt = self.attempt(story, Attempt("upload", (store,)))
        headers = OCTETS | {"x-image-meta-store": store}

        def put() -> Answer:
            return self.ask(story, "PUT", "/file", content=self.body(story), headers=headers)

        self.insist(attempt, put, 204)

    def upload_in_pieces(self) -> None:
        """A resumable upload."""
        story = self.create()
        if story is None:
            return
        attempt = self.attempt(story, Attempt("resumable", (self.chance.choice(STORES),)))

        def ask(method: str, path: str, **options: Any) -> Answer:
            return self.ask(story, method, path, **options)

        PieceByPiece(story, attempt, ask, self.rest, self.chance, self.stop).run()

    def stage_and_import(self) -> None:
        """PUT stage, POST import; and sometimes a deletion before it is over."""
        story = self.create()
        if story is None:
            return
        story.staged = None
        for _ in range(RETRIES):
            answer = self.ask(story, "PUT", "/stage", content=self.body(story), headers=OCTETS)
            if answer is not None and answer.status_code == 204:
                story.staged = True
                break
            # Without an answer to the first one it may be staged already, or have been given up: queued again.
            if self.stop.is_set() or self.chance.random() < 0.2:
                return
            self.rest()
            found = self.look(story)
            if found is not None and found["status"] == "uploading":
                break
        if self.chance.random() < 0.05:
            return  # staged and forgotten
        self.begin_import(story, {"name": "glance-direct"}, good=True)
        self.perhaps_disturb(story)

    def import_from_web(self) -> None:
        """web-download, from servers good and bad."""
        story = self.create()
        if story is None:
            return
        good = self.chance.random() < 0.75
        manner = self.chance.choice(GOOD_MANNERS if good else BAD_MANNERS)
        method = {"name": "web-download", "uri": self.web.url(f"/{manner}/{story.seed}-{story.size_bytes}")}
        # A hash that is right is believed before what HEAD tells.
        if manner != "head-lies" and self.chance.random() < 0.3:
            lies = self.chance.random() < 0.3
            method |= {"os_hash_algo": "sha512", "os_hash_value": "0" * 128 if lies else story.digest}
            good = good and not lies
        self.begin_import(story, method, good=good)
        self.perhaps_disturb(story)

    def import_from_region(self) -> None:
        """glance-download, of an image that is there or is not."""
        there = self.chance.choice(self.region.images)
        story = self.create(there.seed, there.size_bytes)
        if story is None:
            return
        good = self.chance.random() < 0.85
        method = {"name": "glance-download", "glance_region": NAME}
        method["glance_image_id"] = there.id if good else str(uuid.uuid4())
        self.begin_import(story, method, good=good, headers=self.region.headers())
        self.perhaps_disturb(story)

    def copy(self) -> None:
        """copy-image of one that is active, to stores that lack it."""
        story = self.one_of_mine()
        image = self.look(story) if story is not None else None
        if story is None or image is None or image["status"] != "active" or LOCK in image:
            return
        lacking = sorted(set(STORES) - set(image["stores"].split(",")))
        if not lacking:
            return
        wanted = tuple(self.chance.sample(lacking, self.chance.randint(1, len(lacking))))
        self.begin_import(story, {"name": "copy-image"}, good=True, stores=wanted)
        self.perhaps_disturb(story)

    def delete(self) -> None:
        """DELETE, at whatever moment it is."""
        story = self.one_of_mine()
        if story is None:
            return
        story.deleted = None
        for _ in range(RETRIES):
            answer = self.ask(story, "DELETE", "")
            if answer is not None and answer.status_code in (204, 404):  # 404: an earlier one without an answer did it
                story.deleted = True
                break
            if self.chance.random() < 0.3:
                break
            self.rest()
        self._mine.remove(story)

    def hang_up(self) -> None:
        """An upload or a staging that the client breaks off."""
        story = self.create()
        if story is None:
            return
        path = self.chance.choice(("/file", "/stage"))
        cut = self.chance.randrange(story.size_bytes)
        headers = OCTETS | {"Content-Length": str(story.size_bytes)}

        def some() -> Iterator[bytes]:
            yield story.data()[:cut]
            raise HangUp

        try:
            self._http.put(f"/v2/images/{story.id}{path}", content=some(), headers=headers)
        except httpx.TransportError:
            story.say(f"PUT {path} broken off by the client after {cut} bytes")

    def cancel(self) -> None:
        """Call an import off."""
        story = self.one_of_mine()
        image = self.look(story) if story is not None else None
        if story is None or image is None or LOCK not in image:
            return
        story.cancelled = True
        path = f"/v2/jobs/{image[LOCK]}/actions/cancel"
        try:
            answer = self._http.post(path)
        except httpx.TransportError as failure:
            story.say(f"POST {path}: {type(failure).__name__}")
            return
        story.say(f"POST {path}: {answer.status_code}")
        assert answer.status_code in (202, 404, 409, 503), answer.text

    def begin_import(
        self,
        story: Story,
        method: dict[str, str],
        *,
        good: bool,
        stores: tuple[str, ...] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """POST import, insisting on an answer or not."""
        if stores is None:
            stores = tuple(self.chance.sample(STORES, self.chance.randint(1, len(STORES))))
        attempt = self.attempt(story, Attempt(method["name"], stores, self.chance.random() < 0.6, good))
        body: dict[str, Any] = {"method": method, "all_stores_must_succeed": attempt.must_succeed}
        if set(stores) == set(STORES) and self.chance.random() < 0.5:
            body["all_stores"] = True
        else:
            body["stores"] = list(stores)
        self.insist(attempt, lambda: self.ask(story, "POST", "/import", json=body, headers=headers or {}), 202)

    def insist(self, attempt: Attempt, ask: Callable[[], Answer], wanted: int) -> None:
        """Ask, mostly until there is an answer. A refusal after silence may mean that the first one was heard."""
        was_silent = False
        for _ in range(RETRIES):
            answer = ask()
            if answer is not None and answer.status_code < 500:
                if answer.status_code == wanted:
                    attempt.accepted = True
                elif not was_silent:
                    attempt.accepted = False
                return
            was_silent = True
            if self.chance.random() < 0.25:
                return
            self.rest()

    def perhaps_disturb(self, story: Story) -> None:
        """Mostly go on with something else; sometimes delete it while it is under way, or wait for the end."""
        dice = self.chance.random()
        if dice < 0.1:
            time.sleep(self.chance.uniform(0, 0.5))
            story.deleted = None
            answer = self.ask(story, "DELETE", "")
            if answer is not None and answer.status_code == 204:
                story.deleted = True
            self._mine.remove(story)
        elif dice < 0.5:
            for _ in range(RETRIES):
                image = self.look(story)
                if self.stop.is_set() or (image is not None and LOCK not in image):
                    break
                self.rest()

    def create(self, seed: int | None = None, size_bytes: int | None = None) -> Story | None:
        """A new image, whose id the client chooses: it may ask again. None if it cannot tell whether there is one."""
        if seed is None or size_bytes is None:
            seed = self.chance.getrandbits(40)
            size_bytes = self.chance.choice((1, 1, 1, 2, 2, 4, LARGEST_MIB)) * MIB - self.chance.randrange(MIB)
        image_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        story = self.stories.begin(image_id, seed, size_bytes)
        body = {"id": story.id, "name": self.name, **FORMATS}
        for _ in range(RETRIES):
            try:
                answer: Answer = self._http.post("/v2/images", json=body)
            except httpx.TransportError as failure:
                answer = None
                story.say(f"POST: {type(failure).__name__}")
            if answer is not None:
                story.say(f"POST: {answer.status_code}")
                if answer.status_code in (201, 409):  # 409: an earlier one without an answer did it
                    story.created = True
                    self._mine = [*self._mine[-REMEMBERED + 1 :], story]
                    return story
            if self.stop.is_set():
                break
            self.rest()
        return None

    def body(self, story: Story) -> Iterator[bytes]:
        """The data in pieces, sometimes with pauses."""
        data = story.data()
        pause_s = self.chance.choice((0, 0, 0, 0.02))
        for begin in range(0, len(data), PIECE_BYTES):
            yield data[begin : begin + PIECE_BYTES]
            time.sleep(pause_s)

    def one_of_mine(self) -> Story | None:
        return self.chance.choice(self._mine) if self._mine else None

    def attempt(self, story: Story, attempt: Attempt) -> Attempt:
        story.attempts.append(attempt)
        return attempt

    def look(self, story: Story) -> dict[str, Any] | None:
        """The image as it is; None if there is no answer, or no image."""
        answer = self.ask(story, "GET", "")
        found: dict[str, Any] | None = answer.json() if answer is not None and answer.status_code == 200 else None
        return found

    def ask(self, story: Story, method: str, path: str, **options: Any) -> Answer:
        """One request about an image; None if no answer came."""
        about = f"{method} {path} {options.get('json', '')}".strip()
        if "Upload-Offset" in options.get("headers", {}):
            about += f" at {options['headers']['Upload-Offset']}"
        try:
            answer = self._http.request(method, f"/v2/images/{story.id}{path}", **options)
        except httpx.TransportError as failure:
            story.say(f"{about}: {type(failure).__name__}")
            return None
        if method != "GET":
            said = answer.text[:200] if answer.status_code >= 400 else ""
            story.say(f"{about}: {answer.status_code} {said}")
        assert answer.status_code != 500, story.text()
        return answer

    def rest(self) -> None:
        time.sleep(self.chance.uniform(*RETRY_S))
