"""The benchmark of imports: what it promises, and how its load tells what went wrong."""

import pytest

from tests.bench import import_client, report
from tests.bench.http11 import UnexpectedAnswer
from tests.bench.import_metrics import METRICS, TARGETS
from tests.bench.targets import Medians


def test_every_target_reads_a_figure_that_a_metric_delivers() -> None:
    everything: Medians = {
        (metric.name, subject, figure): 1.0
        for metric in METRICS
        for subject in metric.subjects
        for figure in metric.units
    }
    assert len(report.target_rows(everything, TARGETS)) == len(TARGETS)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("PUT /v2/images/1/stage: 500 instead of 204: b'no: really'", "500"),
        ("no complete answer, only b''", "no answer"),
    ],
)
def test_failures_are_told_apart_by_their_status(said: str, status: str) -> None:
    assert import_client.status_of(UnexpectedAnswer(said)) == status


@pytest.mark.parametrize(
    ("image", "over"),
    [
        ({"status": "queued", "os_glance_import_task": "it"}, False),
        ({"status": "importing"}, False),
        ({"status": "active", "os_glance_import_task": "it"}, False),
        ({"status": "active"}, True),
        ({"status": "queued"}, True),
    ],
)
def test_an_import_is_over_when_its_lock_is_gone(image: dict[str, str], over: bool) -> None:
    assert import_client.is_over(image) is over
