"""The load of the benchmark of imports, in a process of its own (`python -m tests.bench.import_client`).

Jobs and outcomes are JSON, as those of `client`. Whoever waits looks at one image every 50 ms and no more: the service
is to be busy with imports, not with who asks for them.
"""

import json
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.client import GIB, Job, Outcome
from tests.bench.http11 import Connection, UnexpectedAnswer

POLL_S = 0.05
PATIENCE_S = 900.0
QUIET_S = 60.0
"""When none of many images has become active for so long, those that are left are lost."""
ATTEMPTS = 8
RETRY_S = 0.25
LOCK = "os_glance_import_task"


def one(job: Job) -> Outcome:
    """Stage a file, or name the `uri` that it has, and import it into `stores`: the seconds until the image is active.

    Ends when the lock is gone as well. Raises UnexpectedAnswer where the image does not become active.
    """
    connection = Connection(job["port"], job["headers"])
    image_id = create(connection)
    started = time.perf_counter()
    if job["uri"] is None:
        stage(connection, image_id, Path(job["data"]), job["size_bytes"])
    staged = time.perf_counter()
    begin(connection, image_id, job["uri"], job["stores"])
    active = None
    while True:
        image = show(connection, image_id)
        if image["status"] == "active" and active is None:
            active = time.perf_counter()
        if is_over(image):
            break
        if time.perf_counter() - staged > PATIENCE_S:
            raise UnexpectedAnswer(f"the import does not end: {image}")
        time.sleep(POLL_S)
    connection.close()
    if active is None:
        raise UnexpectedAnswer(f"the import failed: {image}")
    return {
        "wall_s": active - started,
        "stage_s": staged - started,
        "amount": job["size_bytes"] / GIB,
        "image": image_id,
    }


def many(job: Job) -> Outcome:
    """`count` images of `size_bytes` each, created, staged and imported by `clients` at once, until the last is active.

    Other answers than the right ones are counted and the image is begun anew, ATTEMPTS times. The seconds are those
    until the last image was active; how long one waited in vain for others is not in them.
    """
    return _Load(job).run()


@dataclass(slots=True)
class _Load:
    """What the clients of `many` share; `accepted` are images whose import has begun and that are not active yet."""

    job: Job
    accepted: deque[str] = field(default_factory=deque)
    errors: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    active: int = 0
    begun: int = 0
    last_news: float = 0.0
    crashes: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Outcome:
        started = self.last_news = time.perf_counter()
        clients = [threading.Thread(target=self._guarded) for _ in range(self.job["clients"])]
        for client in clients:
            client.start()
        ended = self._wait_for_all(clients)
        if self.crashes:
            raise self.crashes[0]
        return {
            "wall_s": ended - started,
            "amount": self.active,
            "errors": dict(self.errors),
            "failed": self.failed,
            "stuck": len(self.accepted),
        }

    def _guarded(self) -> None:
        try:
            self._work()
        except BaseException as failure:
            self.crashes.append(failure)

    def _work(self) -> None:
        connection = Connection(self.job["port"], self.job["headers"])
        while self._is_one_left():
            image_id = self._accepted(connection)
            if image_id is None:
                self.failed += 1
            else:
                self.accepted.append(image_id)
                self.last_news = time.perf_counter()
        connection.close()

    def _is_one_left(self) -> bool:
        with self.lock:
            self.begun += 1
            return self.begun <= self.job["count"]

    def _accepted(self, connection: Connection) -> str | None:
        """The id of an image whose import has begun; None if that came to nothing."""
        for _ in range(ATTEMPTS):
            try:
                image_id = create(connection)
                stage(connection, image_id, Path(self.job["data"]), self.job["size_bytes"])
                begin(connection, image_id, None, self.job["stores"])
            except UnexpectedAnswer as failure:
                connection.close()
                with self.lock:
                    self.errors[status_of(failure)] += 1
                time.sleep(RETRY_S)
            else:
                return image_id
        return None

    def _wait_for_all(self, clients: list[threading.Thread]) -> float:
        """When the last image became active. One after the other is looked at, and again those that are not."""
        connection = Connection(self.job["port"], self.job["headers"])
        ended = time.perf_counter()
        while self.accepted or any(client.is_alive() for client in clients):
            if not self.accepted:
                time.sleep(POLL_S)
                continue
            image_id = self.accepted.popleft()
            image = self._seen(connection, image_id)
            if image["status"] == "active":
                ended = self.last_news = time.perf_counter()
                self.active += 1
            elif image["status"] == "queued" and is_over(image):
                self.failed += 1
            else:
                self.accepted.append(image_id)
                if time.perf_counter() - self.last_news > QUIET_S:
                    break
                time.sleep(POLL_S)
        connection.close()
        return ended

    def _seen(self, connection: Connection, image_id: str) -> dict[str, Any]:
        try:
            return show(connection, image_id)
        except UnexpectedAnswer as failure:
            connection.close()
            with self.lock:
                self.errors[status_of(failure)] += 1
            return {"status": "unknown"}


def status_of(failure: UnexpectedAnswer) -> str:
    """What a server said, in a word: `PUT /x: 500 instead of 204: …` is 500."""
    said = str(failure).split(": ")
    return said[1].split(" ")[0] if len(said) > 1 else "no answer"


def create(connection: Connection) -> str:
    """A queued image that takes any bytes."""
    body = {"name": "import", "disk_format": "raw", "container_format": "bare"}
    answer = connection.request("POST", "/v2/images", 201, json.dumps(body).encode())
    return str(json.loads(answer.body)["id"])


def stage(connection: Connection, image_id: str, data: Path, size_bytes: int) -> None:
    with data.open("rb", buffering=0) as source:
        connection.upload(f"/v2/images/{image_id}/stage", source, 0, size_bytes, None)


def begin(connection: Connection, image_id: str, uri: str | None, stores: list[str]) -> None:
    """Ask for the import of what is staged, or of what lies at `uri`."""
    method = {"name": "glance-direct"} if uri is None else {"name": "web-download", "uri": uri}
    body = json.dumps({"method": method, "stores": stores}).encode()
    connection.request("POST", f"/v2/images/{image_id}/import", 202, body, {"Content-Type": "application/json"})


def show(connection: Connection, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(connection.request("GET", f"/v2/images/{image_id}", 200).body)
    return found


def is_over(image: dict[str, Any]) -> bool:
    """Has the import come to its end, good or bad?"""
    return image["status"] in ("active", "queued") and LOCK not in image


JOBS: dict[str, Callable[[Job], Outcome]] = {"one": one, "many": many}


def main() -> None:
    job = json.load(sys.stdin)
    json.dump(JOBS[job["job"]](job), sys.stdout)


if __name__ == "__main__":
    main()
