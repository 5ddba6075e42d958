"""The way from configuration files, environment and command line to settings."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blick.conf import build, remarks, sources
from blick.conf.catalog import GROUPS
from blick.conf.findings import Finding
from blick.conf.reading import Reading, SetOption
from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    ImportSettings,
    PolicySettings,
    ServerSettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from blick.model.errors import StartRefused


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings to start with, and what there is to say about how they came about (no errors among it)."""

    settings: Settings
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Examined:
    """A configuration looked at from all sides: `settings` are fit for use only if no finding is an error."""

    settings: Settings
    findings: tuple[Finding, ...]
    options: tuple[SetOption, ...]
    files: tuple[Path, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a start."""
        return tuple(finding for finding in self.findings if finding.level == "error")


def load(
    files: Sequence[Path],
    dirs: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Settings from `files`, then the *.conf files of `dirs`; later ones win, the environment wins over all of them.

    `environment` is the process's own unless given; its OS_<GROUP>__<NAME> count. `overrides` come from a command
    line and win over everything: "group.name", or "name" of [DEFAULT], to a value. Raises StartRefused, naming every
    wrong option with its reason and file, for wrong values and for files that can't be read.
    """
    examined = examine(files, dirs, environment, overrides=overrides)
    if examined.errors:
        raise StartRefused("\n".join(map(str, examined.errors)))
    return Loaded(examined.settings, examined.findings)


def examine(
    files: Sequence[Path],
    dirs: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> Examined:
    """Like `load`, for someone who wants to see everything: wrong values are findings. Unreadable files still raise."""
    surroundings = os.environ if environment is None else environment
    paths = sources.expand(sources.Sources(tuple(files), tuple(dirs)))
    reading = Reading([sources.parse(path) for path in paths], surroundings, overrides or {})
    reading.add(GROUPS)
    settings = build.build(reading, (*dirs, *sources.search_dirs(surroundings)))
    for name in reading.unknown_overrides():
        raise StartRefused(f"{name}: there is no such option.")
    return Examined(settings, (*reading.findings, *remarks.remarks(reading)), reading.set_options(), paths)


def default_files(
    program: str, environment: Mapping[str, str] | None = None, root: Path = Path("/")
) -> tuple[Path, ...]:
    """The files that `program` (such as glance-api) reads when none was named, in order; empty if there are none."""
    return sources.expand(sources.default_sources(program, os.environ if environment is None else environment, root))


def standalone(data_dir: Path, host: str = "127.0.0.1", port: int = 9292, workers: int = 1) -> Settings:
    """Settings of a service that needs nothing but a folder: SQLite, one file store, its own identity.

    Nothing is created. Raises StartRefused for a path that a database URL can't hold.
    """
    data_dir = data_dir.absolute()
    if "?" in str(data_dir):
        raise StartRefused(f"{data_dir}: a data folder's path must not have a question mark in it.")
    images = StoreSettings(id="file", type="file", options={"filesystem_store_datadir": str(data_dir / "images")})
    return Settings(
        stores=StoresSettings(default_store="file", stores=(images,)),
        server=ServerSettings(bind_host=host, bind_port=port, workers=workers),
        database=DatabaseSettings(connection=f"sqlite:///{data_dir / 'blick.sqlite3'}"),
        policy=PolicySettings(policy_file=data_dir / "policy.yaml", policy_dirs=(data_dir / "policy.d",)),
        identity=IdentitySettings(kind="standalone"),
        imports=ImportSettings(staging_dir=data_dir / "staging", work_dir=data_dir / "work"),
    )
