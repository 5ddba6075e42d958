"""Programs from npm that the tests run: each in a folder of its own in the user's cache folder.

`make deps` installs all of them ahead: `python -m tests.support.npm_packages`. Standard library only: there may be no
.venv yet.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.environments import cache_folder, kept

VERSIONS: Mapping[str, str] = {"azurite": "3.35.0", "tus-js-client": "4.3.1"}


def folder_of(name: str) -> Path:
    """Where the package called `name` is, or will be, with all that it needs in `node_modules`."""
    return cache_folder() / "npm" / f"{name}-{VERSIONS[name]}"


def missing(name: str) -> str | None:
    """What is not there, in words, or None."""
    return None if folder_of(name).exists() else f"no {name} from npm"


def install(name: str) -> None:
    """Fetch it, unless it is there. subprocess.CalledProcessError when npm cannot."""
    kept(folder_of(name), lambda folder: _fetch(name, folder))


def _fetch(name: str, folder: Path) -> None:
    # Nobody's installation scripts are run: they build what we do not use.
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([*command, "--prefix", str(folder), f"{name}@{VERSIONS[name]}"], check=True)


if __name__ == "__main__":
    for wanted in VERSIONS:
        print(f"deps: {'fetching' if missing(wanted) else 'there is'} {wanted}, from npm", flush=True)
        try:
            install(wanted)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"deps: no {wanted}, and its tests are skipped: {error}", flush=True)
