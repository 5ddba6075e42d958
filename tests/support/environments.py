"""Virtual environments for programs that must not share ours: Keystone, Swift, the reference service, Tempest.

`environment(name)` makes one on first use, from requirements/<name>.txt, in the user's cache folder. `make deps` makes
all of them ahead: `python -m tests.support.environments [name …]`. Standard library only: there may be no .venv yet.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")
NAMES = ("keystone", "upstream", "tempest", "swift", "moto", "nx27017", "tuspy")
"""Those that are made ahead; cinder only where it is named: it takes long, and its tests run only on demand."""
UNUSED_S = 14 * 24 * 3600
"""How long an environment of another list (an older one, or another branch's) is kept after its last use."""


def cache_folder() -> Path:
    """The user's cache folder for what Blick's tests and benchmark keep between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blick"


def environment(name: str) -> Path:
    """The folder of a ready virtual environment; its programs are in `bin`. Takes minutes when it has to be made.

    Several processes may ask at the same time, one makes it. One that was killed half-way is made anew.
    subprocess.CalledProcessError when a package cannot be installed.
    """
    folder = _folder(name)
    with locked(folder):
        if not _ready(folder).exists():
            _make(folder, requirements_file(name))
            _remove_unused(folder, name)
        _ready(folder).touch()
    return folder


def missing(name: str) -> str | None:
    """What is not there, in words, or None where `environment(name)` would only give it."""
    return None if _ready(_folder(name)).exists() else f"no virtual environment with {name}"


def requirements_file(name: str) -> Path:
    """The pinned list of an environment."""
    return REQUIREMENTS / f"{name}.txt"


def fingerprint(*contents: str) -> str:
    """A short name for texts: what is made from them is kept under it."""
    return hashlib.sha256("\0".join(contents).encode()).hexdigest()[:12]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is inside for this path. The lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make(unfinished folder)` if it is not there yet: whole or not at all."""
    with locked(folder):
        if not folder.exists():
            unfinished = folder.with_name(folder.name + ".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


def _folder(name: str) -> Path:
    interpreter = f"{sys.base_prefix} {sys.version}"  # an environment is only links to the one that made it
    return cache_folder() / "environments" / f"{name}-{fingerprint(interpreter, requirements_file(name).read_text())}"


def _ready(folder: Path) -> Path:
    """The file that says that everything is installed; its time is that of the last use."""
    return folder / "ready"


def _make(folder: Path, requirements: Path) -> None:
    """Fills the folder in its place: a virtual environment cannot be moved. The last step says that it is ready."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--requirement", str(requirements)], check=True)  # the list is the whole closure
    _ready(folder).touch()


def _remove_unused(folder: Path, name: str) -> None:
    for other in folder.parent.glob(f"{name}-*/ready"):
        if other.parent != folder and time.time() - other.stat().st_mtime > UNUSED_S:
            shutil.rmtree(other.parent, ignore_errors=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or NAMES:
        print(f"deps: {'making' if missing(wanted) else 'there is'} the virtual environment with {wanted}", flush=True)
        try:
            environment(wanted)
        except subprocess.CalledProcessError as error:
            print(f"deps: no {wanted}, and its tests are skipped: pip ended with {error.returncode}", flush=True)
