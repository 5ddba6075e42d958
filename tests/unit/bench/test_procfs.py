"""CPU and memory of a process tree, from a /proc made of files."""

from pathlib import Path

from tests.bench import procfs


def _process(proc: Path, pid: int, parent: int, ticks: tuple[int, int, int, int], rss_kib: int = 0) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    times = " ".join(str(value) for value in ticks)
    (folder / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1 0 -1 4194560 10 20 0 0 {times} 20 0 1 0 99 0 0\n")
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{2 * rss_kib} kB\nVmRSS:\t{rss_kib} kB\n")


def test_a_command_name_with_blanks_and_brackets_does_not_shift_the_fields() -> None:
    line = "42 (a) b (c) S 7 1 1 0 -1 4194560 10 20 0 0 100 20 3 4 20 0 1 0 99 0 0"
    assert procfs.parse_stat(line) == procfs.ProcessStat(pid=42, parent=7, ticks=127)


def test_cpu_counts_live_descendants_and_reaped_children_but_no_strangers(tmp_path: Path) -> None:
    _process(tmp_path, 10, 1, (100, 50, 30, 20))  # 80 of its own children that ended
    _process(tmp_path, 11, 10, (7, 3, 0, 0))
    _process(tmp_path, 12, 11, (1, 1, 0, 0))
    _process(tmp_path, 13, 1, (9999, 0, 0, 0))
    (tmp_path / "uptime").write_text("1 1")
    assert [stat.pid for stat in procfs.tree(10, tmp_path)] == [10, 11, 12]
    assert procfs.cpu_s(10, tmp_path) == 212 / procfs.TICKS_PER_S


def test_memory_is_given_per_process_root_first(tmp_path: Path) -> None:
    _process(tmp_path, 10, 1, (0, 0, 0, 0), rss_kib=3)
    _process(tmp_path, 9, 10, (0, 0, 0, 0), rss_kib=5)
    assert procfs.resident_bytes(10, tmp_path) == [3072, 5120]
    assert procfs.peak_resident_bytes(10, tmp_path) == [6144, 10240]


def test_resetting_the_peaks_reaches_every_process_of_the_tree(tmp_path: Path) -> None:
    _process(tmp_path, 10, 1, (0, 0, 0, 0))
    _process(tmp_path, 11, 10, (0, 0, 0, 0))
    procfs.reset_peaks(10, tmp_path)
    assert (tmp_path / "10/clear_refs").read_text() == (tmp_path / "11/clear_refs").read_text() == "5"


def test_a_process_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    assert procfs.cpu_s(10, tmp_path) == 0.0
