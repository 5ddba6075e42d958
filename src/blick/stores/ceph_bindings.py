"""Ceph's Python modules `rados` and `rbd`, which no package index has: distributions ship them.

A virtual environment does not see the distribution's folders, and should not: everything else in there would leak in
with them. So just these two files are loaded from there, if they were built for this very Python.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

from blick.model.errors import StartRefused

_MAJOR_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
DISTRIBUTION_FOLDERS: tuple[Path, ...] = (
    Path("/usr/lib/python3/dist-packages"),
    Path(f"/usr/lib64/python{_MAJOR_MINOR}/site-packages"),
    Path(f"/usr/lib/python{_MAJOR_MINOR}/site-packages"),
)
"""Debian's and Ubuntu's; the Red Hat family's and SUSE's; Arch's and Alpine's."""


@dataclass(frozen=True, slots=True)
class CephBindings:
    """The two modules. They have no types."""

    rados: Any
    rbd: Any


def load_bindings(store: str) -> CephBindings:
    """Import both; afterwards anybody's `import rados` finds them, too.

    Raises StartRefused, which says for the operator of the store `store` what to install.
    """
    try:
        # In this order: rbd imports rados.
        return CephBindings(_load("rados"), _load("rbd"))
    except ImportError as error:
        raise StartRefused(
            f"Store {store}: the modules rados and rbd for Python {_MAJOR_MINOR} are missing ({error}). They come "
            "with the distribution, not from PyPI: install python3-rados and python3-rbd, and run Blick with the "
            "distribution's version of Python (Debian 12: any Python 3.11)."
        ) from error


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        found = next(_built_for_us(name), None)
        if found is None:
            raise
    specification = importlib.util.spec_from_file_location(name, found)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except ImportError:
        del sys.modules[name]
        raise
    return module


def _built_for_us(name: str) -> Iterator[Path]:
    """Files whose names say that they fit: other Pythons' modules have other suffixes, and would crash the process."""
    ours = [suffix for suffix in EXTENSION_SUFFIXES if str(sys.implementation.cache_tag) in suffix]
    for folder in DISTRIBUTION_FOLDERS:
        for suffix in ours:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                yield path
