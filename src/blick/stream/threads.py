"""Threads for the bytes of transfers, few and shared by all of them."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

# Hashing is bound by the processors: more threads than these only switch. A few more keep every
# processor busy while an inspector holds the interpreter's lock.
DEFAULT_THREADS = (os.cpu_count() or 1) + 4

Job = Callable[[], None]


class TransferThreads:
    """A bounded pool that runs the jobs of any number of strands. Built once per process by `boot`."""

    def __init__(self, count: int = DEFAULT_THREADS) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="transfer")
        self._lock = Lock()
        self._waiting = 0

    def strand(self) -> "Strand":
        """A new strand on these threads."""
        return Strand(self)

    def close(self) -> None:
        """End the threads. Every strand has to be idle."""
        self._pool.shutdown(wait=True)

    @property
    def wanted(self) -> bool:
        """Whether a strand waits for a thread."""
        return self._waiting > 0

    def start(self, run: Job) -> None:
        """Run `run` as soon as a thread is free."""
        with self._lock:
            self._waiting += 1
        self._pool.submit(self._run, run)

    def _run(self, run: Job) -> None:
        with self._lock:
            self._waiting -= 1
        run()


class Strand:
    """Runs its jobs one after the other, in the order given, whichever threads they fall on.

    A job must not raise: it has nobody to raise to.
    """

    def __init__(self, threads: TransferThreads) -> None:
        self._threads = threads
        self._lock = Lock()
        self._jobs: deque[Job] = deque()
        self._running = False

    def submit(self, job: Job) -> None:
        """Append a job. Never blocks: how much may queue up is the caller's to bound."""
        with self._lock:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        self._threads.start(self._run)

    def _run(self) -> None:
        while True:
            self._jobs.popleft()()
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
            if self._threads.wanted:  # others have waited longer
                self._threads.start(self._run)
                return
