"""Which files a program reads, and what stands in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from blick.model.errors import StartRefused

# In the order in which a program reads them; the last one is its own.
_FILES_OF_PROGRAM: Mapping[str, tuple[str, ...]] = {
    "glance-manage": ("glance-api", "glance-manage"),
    "glance-cache-manage": ("glance-cache",),
    "glance-cache-cleaner": ("glance-cache",),
    "glance-cache-pruner": ("glance-cache",),
    "glance-cache-prefetcher": ("glance-cache",),
}
_IMPORT_FILE = "glance-image-import.conf"


@dataclass(frozen=True, slots=True)
class Sources:
    """The files to read, in this order, then the folders whose *.conf files are read, sorted."""

    files: tuple[Path, ...] = ()
    dirs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """One file: its lines by (group, name), in their order. DEFAULT apart, groups are lower case.

    `numbers`: where the last of them begins, counted from 1; by (group, ""): where the group's first heading stands.
    """

    path: Path
    values: Mapping[tuple[str, str], tuple[str, ...]]
    numbers: Mapping[tuple[str, str], int]

    def where(self, group: str, name: str = "") -> str:
        """File and line of the option, or of the group's heading, for people."""
        number = self.numbers.get((group_name(group), name))
        return str(self.path) if number is None else f"{self.path}:{number}"


def default_sources(program: str, environment: Mapping[str, str], root: Path = Path("/")) -> Sources:
    """What `program` reads when nothing was named: per name the first folder of `search_dirs` that has it counts.

    The distribution's file, if any, comes first. OS_GLANCE_CONFIG_DIR names the one folder of the server's files.
    Empty when there is nothing. `root` is where the file system starts.
    """
    chosen = environment.get("OS_GLANCE_CONFIG_DIR")
    if chosen and program == "glance-api":
        files = [Path(chosen) / name for name in (_IMPORT_FILE, "glance-api.conf")]
        return Sources(tuple(file for file in files if file.is_file()))
    found_files: list[Path] = []
    found_dirs: list[Path] = []
    folders = search_dirs(environment, root)
    for name in _FILES_OF_PROGRAM.get(program, (program,)):
        distribution = root / "usr/share/glance" / f"{name}-dist.conf"
        found_files += [distribution] if distribution.is_file() else []
        if file := next((folder / f"{name}.conf" for folder in folders if (folder / f"{name}.conf").is_file()), None):
            beside = file.with_name(_IMPORT_FILE)
            found_files += [beside] if name == "glance-api" and beside.is_file() else []
            found_files.append(file)
        if folder := next((one / f"{name}.conf.d" for one in folders if (one / f"{name}.conf.d").is_dir()), None):
            found_dirs.append(folder)
    return Sources(tuple(found_files), tuple(found_dirs))


def search_dirs(environment: Mapping[str, str], root: Path = Path("/")) -> tuple[Path, ...]:
    """The folders in which configuration and the files it names are looked for."""
    home = environment.get("HOME")
    homes = (Path(home) / ".glance", Path(home)) if home else ()
    return (*homes, root / "etc/glance", root / "etc")


def expand(sources: Sources) -> tuple[Path, ...]:
    """Every file of `sources` in reading order. Raises StartRefused for a file or folder that is not there."""
    for file in sources.files:
        if not file.is_file():
            raise StartRefused(f"{file}: no such configuration file.")
    for folder in sources.dirs:
        if not folder.is_dir():
            raise StartRefused(f"{folder}: no such configuration folder.")
    return (*sources.files, *(file for folder in sources.dirs for file in sorted(folder.glob("*.conf"))))


def parse(path: Path) -> ParsedFile:
    """Read one file. Raises StartRefused with path and line, and without the line's text, which may be a secret."""
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(str(path), sections).parse()
    except cfg.ParseError as error:
        raise StartRefused(f"{path}:{error.lineno}: {error.msg}.") from None
    except UnicodeDecodeError as error:
        raise StartRefused(f"{path}: not a text file in {error.encoding} ({error.reason}).") from error
    except OSError as error:
        raise StartRefused(f"{path}: cannot be read: {error.strerror}.") from error
    values: dict[tuple[str, str], tuple[str, ...]] = {}
    for section, options in sections.items():
        group = group_name(section)
        for name, lines in options.items():
            values[group, name] = values.get((group, name), ()) + tuple(lines)
    return ParsedFile(path, values, _numbers(path))


def _numbers(path: Path) -> Mapping[tuple[str, str], int]:
    """Line numbers in a file that was parsed without complaint; the parser does not tell them."""
    numbers: dict[tuple[str, str], int] = {}
    group = ""
    with path.open() as file:
        for number, line in enumerate(file, 1):
            if line.startswith("["):
                group = group_name(line.rstrip()[1:-1])
                numbers.setdefault((group, ""), number)
            elif line.strip() and not line.startswith((" ", "\t", "#", ";")):
                numbers[group, re.split("[:=]", line, maxsplit=1)[0].strip()] = number
    return numbers


def group_name(section: str) -> str:
    """The group that a section's heading means: case counts for DEFAULT only."""
    return section if section == "DEFAULT" else section.lower()


def environment_options(environment: Mapping[str, str]) -> Mapping[tuple[str, str], str]:
    """Variable names OS_<GROUP>__<NAME>, by upper-case (group, name)."""
    matches = ((re.fullmatch(r"OS_(.+?)__(.+)", variable), variable) for variable in environment)
    return {(match[1], match[2]): variable for match, variable in matches if match}


def find_file(name: str | Path, files: Sequence[Path], folders: Sequence[Path]) -> Path:
    """Where a file named by an option is: as it is, beside a configuration file, or in one of `folders`.

    A name that is found nowhere comes back as it was given.
    """
    wanted = Path(name).expanduser()
    beside = (file.parent for file in reversed(files))
    return next((folder / wanted for folder in (*beside, *folders) if (folder / wanted).exists()), wanted)
