"""The file that says which process a server is, and whether that is still so."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blick.model.errors import StartRefused


class PidFile:
    """One server's file. `program` is the server's name: a process that is none of that name is not it."""

    def __init__(self, path: Path, program: str) -> None:
        self.path = path
        self._program = program

    def pid(self) -> int | None:
        """The server's process, None if there is none: no file, or the process has ended. Raises StartRefused."""
        found = self._written()
        return found if found is not None and _is_process_of(found, self._program) else None

    def names(self, pid: int) -> bool:
        """Does the file name this process?"""
        return self._written() == pid

    def write(self, pid: int) -> None:
        """Name a process. Raises StartRefused."""
        try:
            new = self.path.with_name(self.path.name + ".new")
            new.write_text(f"{pid}\n")
            new.replace(self.path)
        except OSError as error:
            raise StartRefused(f"{self.path}: {error.strerror}.") from error

    def remove(self) -> None:
        """Name none. Raises StartRefused."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise StartRefused(f"{self.path}: {error.strerror}.") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else starts or stops this server meanwhile; waits for who does. Raises StartRefused."""
        try:
            lock = self.path.with_name(self.path.name + ".lock").open("a")
        except OSError as error:
            raise StartRefused(f"{self.path}: {error.strerror}.") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _written(self) -> int | None:
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StartRefused(f"{self.path} cannot be read: {error}.") from error
        return int(text) if text.strip().isdecimal() else None


def usable(path: Path, program: str) -> tuple[PidFile, str]:
    """A file that can be written: at `path`, whose folder is made, or else a new one; then with the reason."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return PidFile(path, program), ""
    except OSError as error:
        # A folder of our own: with a name that anybody can foresee, anybody could put something else there.
        instead = Path(tempfile.mkdtemp(prefix="glance-control-")) / path.name
        reason = (
            f"Unable to use the pid file {path} ({error.strerror}). Using {instead}; name it with --pid-file later."
        )
        return PidFile(instead, program), reason


def is_alive(pid: int) -> bool:
    """Is there such a process, that has not ended?"""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:
        return True
    return state not in "ZX"  # one that nobody has waited for yet


def _is_process_of(pid: int, program: str) -> bool:
    """Numbers of processes are used again: does this one run the program?"""
    if pid <= 0 or not is_alive(pid):
        return False
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    return any(Path(os.fsdecode(argument)).name == program for argument in arguments if argument)
