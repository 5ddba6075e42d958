"""Commands that start another one with fewer rights, less room or its own mounts; each is the `prefix` of a server."""

import os
import shlex
import subprocess
from pathlib import Path

from tests.support.parts import OWN_MOUNTS, system_program


def obeying_permissions() -> list[str]:
    """Root is bound by permission bits like everybody else; for other users nothing changes."""
    if os.geteuid() != 0:
        return []
    return [system_program("setpriv"), "--bounding-set=-dac_override,-dac_read_search,-fowner"]


def with_files_up_to(size_bytes: int) -> list[str]:
    """No file may grow beyond that size: what is written behind it fails, as on a full disk."""
    return [system_program("prlimit"), f"--fsize={size_bytes}"]


def with_small_disk_at(folder: Path, size_bytes: int) -> list[str]:
    """`folder`, which must exist, is a file system of that size, seen by the command only and gone with it."""
    return _with_mount(f"mount -t tmpfs -o size={size_bytes} blick-test", folder)


def with_mount_point(folder: Path) -> list[str]:
    """`folder`, which must exist, is a mount of its own for the command, so that it can become read-only."""
    return _with_mount(f"mount --bind {shlex.quote(str(folder))}", folder)


def become_read_only(pid: int, folder: Path) -> None:
    """Remounts `folder` read-only for a process that was started by with_mount_point, as a kernel does after errors."""
    own_users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    enter = [system_program("nsenter"), f"--target={pid}", "--mount", *own_users]
    subprocess.run([*enter, "mount", "-o", "remount,bind,ro", str(folder)], check=True, timeout=60)


def _with_mount(mount: str, folder: Path) -> list[str]:
    script = f'{mount} "$0" && exec "$@"'
    return [system_program("unshare"), *OWN_MOUNTS, "/bin/sh", "-c", script, str(folder)]
