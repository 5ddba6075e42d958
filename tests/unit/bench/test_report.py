"""Medians, table rows and verdicts."""

import pytest

from tests.bench import report
from tests.bench.metrics import METRICS
from tests.bench.report import Results
from tests.bench.targets import TARGETS, Medians

UPLOAD = next(metric for metric in METRICS if metric.name == "upload")


def _results() -> Results:
    results = Results()
    for upstream, blick, floor in ((9.0, 4.0, 3.0), (12.0, 3.0, 4.0), (10.0, 5.0, 3.6)):
        results.add("upload", "upstream", {"wall": upstream, "cpu": 8.0})
        results.add("upload", "blick", {"wall": blick, "cpu": 6.0})
        results.add("upload", "floor", {"wall": floor, "cpu": 5.0, "synced": 4.5})
    return results


def test_a_row_shows_medians_ratio_and_what_was_measured_beside() -> None:
    wall, cpu, synced = report.rows([UPLOAD], _results().medians())
    assert wall[1:] == ("s/GiB", "10.0", "4.00", "2.50 ×", "hash floor 3.60")
    assert cpu[1:5] == ("CPU-s/GiB", "8.00", "6.00", "1.33 ×")
    assert synced[1:] == ("s/GiB, copy synced", "–", "–", "–", "hash floor 4.50")


def test_targets_are_judged_only_when_measured() -> None:
    verdicts = {text: verdict for text, _, verdict in report.target_rows(_results().medians())}
    assert verdicts == {
        "upload: upstream's wall time at least 2 times ours": "met",
        "upload: wall time within 15 % of the hash floor": "met",
        "upload: CPU not above upstream's": "met",
    }
    assert report.target_rows({}) == []


def test_a_missed_target_says_so() -> None:
    medians: Medians = {("get", "upstream", "cpu"): 5.0, ("get", "blick", "cpu"): 1.0}
    assert report.target_rows(medians) == [("GET one image: at least 6 times less CPU", "5.00 ×", "MISSED")]


@pytest.mark.parametrize(
    ("idle", "busy", "verdict"), [(4.0, 8.9, "met"), (4.0, 9.1, "MISSED"), (30.0, 44.0, "met"), (30.0, 46.0, "MISSED")]
)
def test_latency_may_vary_by_half_or_a_few_milliseconds(idle: float, busy: float, verdict: str) -> None:
    figures = {"idle_p50": 2.0, "busy_p50": 2.0, "idle_p95": idle, "busy_p95": busy}
    medians = {("latency", "blick", name): value for name, value in figures.items()}
    assert [row[2] for row in report.target_rows(medians)] == [verdict]


def test_every_target_reads_a_figure_that_a_metric_delivers() -> None:
    everything: Medians = {
        (metric.name, subject, figure): 1.0
        for metric in METRICS
        for subject in metric.subjects
        for figure in metric.units
    }
    assert len(report.target_rows(everything)) == len(TARGETS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.0914, "0.091"), (1.0, "1.00"), (43.25, "43.2"), (131.4, "131"), (2250.0, "2,250")],
)
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


def test_tables_line_up() -> None:
    text = report.plain(report.HEADINGS, [("a", "s", "1.00", "10.0", "–", "")])
    first, second = text.splitlines()
    assert first.index("Blick") + len("Blick") == second.index("10.0") + len("10.0")
    assert report.markdown(("a", "b", "c"), [("1", "2", "3")]) == "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |"
