"""Whoever kills: one process of the deployment, or several, at moments that nobody chose."""

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from tests.support.import_world import ImportWorld
from tests.support.server import STOP_TIMEOUT_S

LIVES_S = (0.0, 1.6)
"""How long everything goes on between two kills."""
CALM = 0.05
"""How often a server is asked to end, instead of being killed."""

CUT_OFF = 0.2
"""How often the database throws everybody out, beside the kills."""


class Killer:
    """Kills, and starts again what does not start by itself. `counts` says what was killed, and how often."""

    def __init__(self, world: ImportWorld, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self.counts: Counter[str] = Counter()

    def kill(self, times: int) -> None:
        """So many kills, one after the other; everything runs at the end."""
        ways: list[tuple[int, Callable[[], None]]] = [
            (4, self._one_api_process),
            (2, self._whole_server),
            (1, self._first_process),
        ]
        if self._world.job_workers:
            ways.append((3, self._job_worker))
        weights, actions = zip(*ways, strict=True)
        for _ in range(times):
            time.sleep(self._chance.uniform(*LIVES_S))
            if self._world.has_database_server and self._chance.random() < CUT_OFF:
                self._world.break_database_connections()
                self.counts["database connections"] += 1
                time.sleep(self._chance.uniform(*LIVES_S))
            if self._chance.random() < CALM:
                with suppress(
                    subprocess.TimeoutExpired
                ):  # then it was killed; how fast it ends is not the question here
                    self._world.server.stop()
                self._world.start()
                self.counts["asked to end"] += 1
                time.sleep(self._chance.uniform(*LIVES_S))
            self._chance.choices(actions, weights)[0]()

    def _one_api_process(self) -> None:
        """The first process puts another in its place."""
        children = self._children()
        if not children:
            self._whole_server()
            return
        _kill([self._chance.choice(children)])
        self.counts["API process"] += 1

    def _whole_server(self) -> None:
        self._world.server.kill()
        self.counts["server"] += 1
        self._world.start()

    def _first_process(self) -> None:
        """Its children end by themselves."""
        children = self._children()
        first = self._world.server.process
        first.kill()
        first.wait(STOP_TIMEOUT_S)
        psutil.wait_procs(children, timeout=STOP_TIMEOUT_S)
        self.counts["first process"] += 1
        self._world.start()

    def _job_worker(self) -> None:
        worker = self._chance.choice(self._world.job_workers)
        worker.kill(signal.SIGKILL)
        self.counts["job worker"] += 1
        self._world.start()

    def _children(self) -> Sequence[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return self._world.server.processes()[1:]
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
