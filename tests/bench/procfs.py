"""What a tree of processes costs, read from /proc: CPU seconds and resident memory."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB = 1024


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of /proc/<pid>/stat; `ticks` counts the process itself and its children that were reaped."""

    pid: int
    parent: int
    ticks: int


def parse_stat(line: str) -> ProcessStat:
    """The command name stands in brackets and may itself hold blanks and brackets: split after the last one."""
    pid, rest = line.split(" ", 1)
    fields = rest.rpartition(")")[2].split()
    # Counted from the state (field 3 of proc(5)): parent 4, utime 14, stime 15, cutime 16, cstime 17.
    return ProcessStat(int(pid), int(fields[1]), sum(int(ticks) for ticks in fields[11:15]))


def tree(root: int, proc: Path = PROC) -> list[ProcessStat]:
    """The live process `root` and all its live descendants; empty when it is gone."""
    everyone = {stat.pid: stat for stat in _all_processes(proc)}
    found = [everyone[root]] if root in everyone else []
    for parent in found:  # grows while it is walked: breadth first
        found.extend(stat for stat in everyone.values() if stat.parent == parent.pid)
    return found


def cpu_s(root: int, proc: Path = PROC) -> float:
    """CPU seconds (user and system) the tree has used so far, children that ended and were reaped included."""
    return sum(stat.ticks for stat in tree(root, proc)) / TICKS_PER_S


def resident_bytes(root: int, proc: Path = PROC) -> list[int]:
    """Resident memory of each process of the tree, root first."""
    return [_status_bytes(stat.pid, "VmRSS", proc) for stat in tree(root, proc)]


def peak_resident_bytes(root: int, proc: Path = PROC) -> list[int]:
    """Highest resident memory of each process of the tree since `reset_peaks`, root first."""
    return [_status_bytes(stat.pid, "VmHWM", proc) for stat in tree(root, proc)]


def reset_peaks(root: int, proc: Path = PROC) -> None:
    """Let the kernel count the peaks of the tree afresh; raises PermissionError for another user's processes."""
    for stat in tree(root, proc):
        (proc / str(stat.pid) / "clear_refs").write_text("5")  # 5 = reset the peak resident set size


def _all_processes(proc: Path) -> Iterator[ProcessStat]:
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between the listing and the read
        yield parse_stat(line)


def _status_bytes(pid: int, field: str, proc: Path) -> int:
    for line in (proc / str(pid) / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * KIB
    return 0  # a zombie has no memory
