"""kill -9 at everything, over and over, while clients upload, stage, import, copy, cancel and delete at random.

In the end every image is active with the right bytes in every store that it was to be in, or has what its task says
went wrong: nothing is stuck, left behind, or done twice. `BLICK_CHAOS_KILLS` kills more often than 100 times,
`BLICK_CHAOS_SEED` repeats the choices of a run (not its pace).
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.chaos.clients import Client
from tests.process.chaos.killer import Killer
from tests.process.chaos.region import Region, running_region
from tests.process.chaos.story import Stories
from tests.process.chaos.verdict import judge
from tests.support.databases import Databases, on_every_engine
from tests.support.import_world import ImportWorld, endless_web_server, journalled
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("BLICK_CHAOS_KILLS", "100"))
CLIENTS = 5
METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")
REST_S = 600.0
"""How long it may take until nothing is under way any more, once the killing has stopped."""


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("BLICK_CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with running_region(tmp_path / "region") as running:
        yield running


@pytest.fixture
def world(engine: str, databases: Databases, tmp_path: Path, region: Region, seed: int) -> Iterator[ImportWorld]:
    """Not started yet."""
    url = databases.untouched(engine, tmp_path)
    web = endless_web_server()
    groups = {
        "DEFAULT": {"enabled_import_methods": f"[{','.join(METHODS)}]"},
        "image_import_opts": {"max_parallel_stores": random.Random(seed).choice((1, 3))},
        "import_filtering_opts": {"allowed_ports": f"[{web.port},{region.port}]"},
    }
    with journalled(url):
        made = ImportWorld(tmp_path / "blick", url, web, job_workers=1, groups=groups)
        try:
            yield made
        finally:
            made.kill_all()
            web.stop()


@on_every_engine
def test_nothing_is_lost_stuck_or_done_twice(world: ImportWorld, region: Region, seed: int) -> None:
    print(f"BLICK_CHAOS_SEED={seed} BLICK_CHAOS_KILLS={KILLS}")
    stories, stop = Stories(), threading.Event()
    world.start()
    began = time.monotonic()
    killer = Killer(world, random.Random(f"{seed} kills"))
    clients = [
        Client(
            name=f"project-{number}",
            url=world.url,
            web=world.web,
            region=region,
            stories=stories,
            chance=random.Random(f"{seed} client {number}"),
            stop=stop,
        )
        for number in range(CLIENTS)
    ]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        killer.kill(KILLS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [client.crash for client in clients if client.crash is not None] == []
    killed_s = time.monotonic() - began
    eventually(lambda: not world.unfinished(), within_s=REST_S, what=lambda: _restless(world, stories))
    eventually(lambda: not world.staged_in_vain(), within_s=REST_S, what=lambda: f"staged: {world.staged_in_vain()}")
    rested_s = time.monotonic() - began - killed_s
    wrong = judge(world, stories)
    print(f"{dict(killer.counts)}, {len(stories)} images, tasks: {_tasks(world)}")
    print(f"{killed_s:.0f} s of kills, {rested_s:.0f} s until all was done, {time.monotonic() - began:.0f} s in all")
    assert not wrong, "\n".join([f"seed {seed}: {len(wrong)} faults", *wrong[:20], world.log_texts()[-20_000:]])
    assert _tracebacks(world.log_texts()) == []
    world.kill_all()
    world.remove_data()


def _tracebacks(log: str) -> list[str]:
    """Those of the service; a process whose parent was killed while it came to life has one of its own."""
    found = [text[:3000] for text in log.split("Traceback (most recent call last)")[1:]]
    return [text for text in found if "in spawn_main" not in text]


def _tasks(world: ImportWorld) -> dict[str, int]:
    return dict(world.rows("SELECT status, count(*) FROM tasks GROUP BY status"))  # type: ignore[arg-type]


def _restless(world: ImportWorld, stories: Stories) -> str:
    """What does not come to rest, with the stories of the images."""
    rows = world.rows("SELECT * FROM blick_jobs WHERE outcome = ''")
    rows = [*rows, *world.rows("SELECT * FROM blick_leases"), *world.rows("SELECT * FROM blick_location_deletes")]
    told = [story.text() for story in stories if any(story.id in str(row) for row in rows)]
    return "\n".join([str(world.unfinished()), *map(str, rows[:20]), *told[:10], world.log_texts()[-10_000:]])
