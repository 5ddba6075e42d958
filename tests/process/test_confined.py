"""What a confined program can still do: read one file, write another, and little else."""

import ctypes
import socket
import sys
from pathlib import Path

import pytest

from blick.stream.confined import CANNOT_START, READABLE, Limits, first_bytes, last_bytes, running

PYTHON = Path(sys.executable)
LIMITS = Limits(memory_mib=1024, cpu_time_s=20, file_bytes=1 << 20)

# Landlock is asked for its version by what makes rules, without any.
HAS_LANDLOCK = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)) > 0
by_the_kernel = pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")


@pytest.fixture
def readable(tmp_path: Path) -> Path:
    path = tmp_path / "readable"
    path.write_text("for its eyes")
    return path


@pytest.fixture
def writable(tmp_path: Path) -> Path:
    path = tmp_path / "writable"
    path.write_text("old")
    return path


async def outcome(
    *command: str, reads: Path, writes: Path | None = None, limits: Limits = LIMITS
) -> tuple[int, str, str]:
    """The exit status of a command, and what it wrote."""
    async with running(PYTHON, command, limits, reads=reads, writes=writes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = await first_bytes(process.stdout, 10_000)
        complaint = await last_bytes(process.stderr, 10_000)
        return await process.wait(), output.decode(), complaint.decode()


async def shell(script: str, *, reads: Path, writes: Path | None = None, limits: Limits = LIMITS) -> tuple[int, str]:
    status, output, complaint = await outcome("/bin/bash", "-c", script, reads=reads, writes=writes, limits=limits)
    return status, output + complaint


async def test_it_reads_and_writes_what_it_is_given(readable: Path, writable: Path) -> None:
    script = f"cat {READABLE} > {writable} && cat {READABLE}"
    assert await shell(script, reads=readable, writes=writable) == (0, "for its eyes")
    assert writable.read_text() == "for its eyes"


@by_the_kernel
@pytest.mark.parametrize(
    "script",
    [
        "cat {folder}/secret", "cat {folder}/readable/../secret", "ls {folder}", "echo x > {folder}/new",
        "rm {folder}/secret", "mv {folder}/writable {folder}/new", "ln -s /etc {folder}/new", "mkdir {folder}/new",
        "cat /etc/passwd", "cat /proc/1/environ", "ls /", "echo x >> {folder}/readable", "echo x >> " + READABLE,
        "cat $(dirname " + READABLE + ")/../../../{folder}/secret",
    ],
)  # fmt: skip
async def test_other_files_are_out_of_its_reach(tmp_path: Path, readable: Path, writable: Path, script: str) -> None:
    (tmp_path / "secret").write_text("not for its eyes")
    before = sorted(tmp_path.iterdir())
    status, text = await shell(script.format(folder=tmp_path), reads=readable, writes=writable)
    assert status != 0
    assert "not for its eyes" not in text
    assert "root:" not in text
    assert sorted(tmp_path.iterdir()) == before
    assert readable.read_text() == "for its eyes"


@by_the_kernel
async def test_it_reaches_no_server(readable: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status, text = await shell(f": < /dev/tcp/127.0.0.1/{port}", reads=readable)
    assert status != 0
    assert "Permission denied" in text


async def test_its_surroundings_tell_it_nothing(readable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_PASSWORD", "secret")
    status, output, _ = await outcome("/usr/bin/env", reads=readable)
    assert status == 0
    assert sorted(line.partition("=")[0] for line in output.splitlines()) == ["LC_ALL", "MALLOC_ARENA_MAX", "PATH"]
    assert await shell("pwd; cat", reads=readable) == (0, "/\n")


async def test_its_limits_are_set(readable: Path) -> None:
    limits = Limits(memory_mib=300, cpu_time_s=7, file_bytes=12 << 10)
    script = "ulimit -v; ulimit -S -t; ulimit -H -t; ulimit -f; ulimit -c; nice"
    status, text = await shell(script, reads=readable, limits=limits)
    assert (status, text.split()) == (0, ["307200", "7", "8", "12", "0", "10"])


async def test_a_file_that_grows_too_long_ends_it(readable: Path, writable: Path) -> None:
    status, _ = await shell(f"exec cat /dev/urandom > {writable}", reads=readable, writes=writable)
    assert status != 0
    status, _, complaint = await outcome(
        "/usr/bin/dd", "if=/usr/bin/bash", f"of={writable}", "bs=1M", "count=4", reads=readable, writes=writable,
        limits=Limits(1024, 20, 64 << 10),
    )  # fmt: skip
    assert status == -25, complaint
    assert writable.stat().st_size <= 1 << 20


async def test_what_it_says_without_end_is_not_kept(readable: Path) -> None:
    async with running(PYTHON, ["/usr/bin/yes"], Limits(1024, 1, 0), reads=readable) as process:
        assert process.stdout is not None
        assert len(await first_bytes(process.stdout, 1000)) == 1001
        assert await process.wait() == -24


async def test_what_it_leaves_unsaid_holds_nothing_up(readable: Path) -> None:
    async with running(PYTHON, ["/usr/bin/yes"], LIMITS, reads=readable) as process:
        pass
    assert process.returncode == -9


async def test_what_cannot_be_started_is_told_by_its_status(readable: Path) -> None:
    status, _, complaint = await outcome("/nowhere/program", reads=readable)
    assert status == CANNOT_START
    assert "/nowhere/program cannot be started" in complaint
    status, _, complaint = await outcome("/bin/true", reads=readable.parent / "missing")
    assert status == CANNOT_START
    with pytest.raises(OSError, match="nowhere"):
        async with running(Path("/nowhere/python"), ["/bin/true"], LIMITS, reads=readable):
            pass
