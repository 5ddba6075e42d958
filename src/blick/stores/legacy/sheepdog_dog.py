"""The command `dog`, Sheepdog's own, which speaks with a sheep daemon of whatever version it belongs to.

It is run without a shell, with nothing of our environment but PATH. Everything here blocks.
"""

import os
import select
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from blick.model.errors import (
    DataExists,
    DataInUse,
    DataNotFound,
    RangeInvalid,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

# How long a command may say nothing. It moves a few MiB at a time, or lists what there is.
_PATIENCE_S = 120.0
_PIECE_BYTES = 1 << 20
# What comes of an error is told by texts more than by exit codes, which changed from release to release.
_MEANINGS: Sequence[tuple[str, type[StoreError]]] = (
    ("exists already", DataExists),
    ("no space", StoreFull),
    ("maximum number of vdis", StoreFull),
    ("maximum vdis", StoreFull),
    ("no vdi found", DataNotFound),
    ("requested tag", DataNotFound),
    ("already locked", DataInUse),
)
_EXIT_CODES = {2: StoreUnavailable, 3: DataExists, 4: StoreFull, 5: DataNotFound}


class Leash:
    """Holds the command that runs now, for somebody else to end it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_cut = False

    def cut(self) -> None:
        """End it; no other begins any more. Does not block."""
        with self._lock:
            self._is_cut = True
            if self._process is not None:
                self._process.kill()

    def start(self, command: Sequence[str], store: str) -> "subprocess.Popen[bytes]":
        """Start a command, which has to be given to `let_go` once it has ended."""
        with self._lock:
            if self._is_cut:
                raise StoreUnavailable(store, "interrupted")
            self._process = subprocess.Popen(  # noqa: S603 - no shell; names are checked, the rest is numbers
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
            return self._process

    def let_go(self) -> None:
        """It has ended."""
        with self._lock:
            self._process = None


class Dog:
    """`program` with the sheep daemon at `address` and `port`, for the store `store`."""

    def __init__(self, store: str, program: str, address: str, port: int) -> None:
        self.store = store
        self._program = program
        self._daemon = ("-a", address, "-p", str(port))

    def run(self, leash: Leash, noun: str, verb: str, *arguments: str, data: bytes = b"") -> str:
        """Run `dog noun verb …` to its end with `data` as its input; gives what it complained of.

        Raises the StoreError that its failure amounts to.
        """
        with self._started(leash, noun, verb, arguments) as process:
            try:
                _, complaint = process.communicate(data, timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired:
                raise StoreUnavailable(self.store, "the command dog does not end") from None
        text = complaint.decode(errors="replace")
        if process.returncode != 0:
            raise self._failure(process.returncode, text)
        return text

    def lines(self, leash: Leash, noun: str, verb: str, *arguments: str) -> Iterator[str]:
        """The lines that `dog noun verb …` prints. Raises as `run` does."""
        rest, buffer = b"", memoryview(bytearray(_PIECE_BYTES))
        with self.reading(leash, noun, verb, *arguments) as pipe:
            while count := pipe.read_into(buffer):
                *whole, rest = (rest + buffer[:count]).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            pipe.require_success()

    @contextmanager
    def reading(self, leash: Leash, noun: str, verb: str, *arguments: str) -> Iterator["Pipe"]:
        """What `dog noun verb …` prints. It is ended on leaving, finished or not."""
        with self._started(leash, noun, verb, arguments) as process:
            yield Pipe(self, process)

    @contextmanager
    def _started(
        self, leash: Leash, noun: str, verb: str, arguments: Sequence[str]
    ) -> Iterator["subprocess.Popen[bytes]"]:
        command = [self._program, noun, verb, *self._daemon, *arguments]
        try:
            process = leash.start(command, self.store)
        except OSError as error:
            raise StoreUnavailable(self.store, "the command dog cannot be run") from error
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
            leash.let_go()

    def failure_of(self, process: "subprocess.Popen[bytes]", complaint: bytes) -> StoreError:
        """Why it failed, of a process that has."""
        return self._failure(process.returncode, complaint.decode(errors="replace"))

    def _failure(self, exit_code: int, complaint: str) -> StoreError:
        return meaning(complaint, _EXIT_CODES.get(exit_code, StoreUnavailable))(self.store)


class Pipe:
    """What one command prints, bit by bit."""

    def __init__(self, dog: Dog, process: "subprocess.Popen[bytes]") -> None:
        self._dog = dog
        self._process = process
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer`, or as much of it as comes at once; 0 at the end. Raises StoreUnavailable if nothing comes."""
        assert self._process.stdout is not None
        _await_data(self._process.stdout, self._dog.store)
        return os.readv(self._process.stdout.fileno(), [buffer])

    def read_whole(self, buffer: memoryview) -> None:
        """Fill `buffer`. Raises RangeInvalid if there is less, and as `require_success` does."""
        while buffer:
            count = self.read_into(buffer)
            if count == 0:
                self.require_success()
                raise RangeInvalid(self._dog.store, "the stored data ended early")
            buffer = buffer[count:]

    def require_success(self) -> None:
        """At the end: raises the StoreError that a failure of the command amounts to."""
        try:
            _, complaint = self._process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise StoreUnavailable(self._dog.store, "the command dog does not end") from None
        if self._process.returncode != 0:
            raise self._dog.failure_of(self._process, complaint)


def meaning(complaint: str, otherwise: type[StoreError]) -> type[StoreError]:
    """What dog complains of, in the words of the store contract."""
    text = complaint.lower()
    return next((kind for words, kind in _MEANINGS if words in text), otherwise)


def _await_data(stream: IO[bytes], store: str) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    while not poll.poll(max(0.0, give_up_at - time.monotonic()) * 1000):
        if time.monotonic() >= give_up_at:
            raise StoreUnavailable(store, "the command dog says nothing")
