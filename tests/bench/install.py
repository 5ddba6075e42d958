"""Getting nginx, which the benchmark compares with, and the random data. Kept between runs."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

MIB = 1024 * 1024
SECTOR_BYTES = 512
SLICE_BYTES = 64 * MIB  # every multiple may be the begin of an upload


def nginx_program(cache: Path) -> Path | None:
    """An nginx to compare with: the installed one, else Debian's package unpacked beside; None where neither works."""
    unpacked = cache / "nginx"
    program = shutil.which("nginx") or str(unpacked / "usr/sbin/nginx")
    if not Path(program).exists() and not _unpack_nginx(unpacked):
        return None
    works = subprocess.run([program, "-v"], capture_output=True, check=False).returncode == 0
    return Path(program) if works else None


def random_data(cache: Path, size_bytes: int) -> Path:
    """A file of random bytes, each slice beginning with a sector of zeros: a boot signature there would be refused."""
    path = cache / "bench-data" / f"random-{size_bytes // MIB}.bin"
    if path.exists() and path.stat().st_size == size_bytes:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as data:
        for offset in range(0, size_bytes, MIB):
            head = bytes(SECTOR_BYTES) if offset % SLICE_BYTES == 0 else b""
            data.write(head + os.urandom(min(MIB, size_bytes - offset) - len(head)))
    unfinished.rename(path)
    return path


def _unpack_nginx(folder: Path) -> bool:
    """Fetch and unpack the package without installing it: no service starts and no root is needed."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return False
    with tempfile.TemporaryDirectory() as downloads:
        fetch = ["apt-get", "-qq", "download", "nginx"]
        if subprocess.run(fetch, cwd=downloads, capture_output=True, check=False).returncode:
            return False
        for package in Path(downloads).glob("nginx_*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    return (folder / "usr/sbin/nginx").exists()
