"""The benchmark of stores: what it promises, and how services are told of the storage."""

from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.backends import BACKENDS, STORE, Backend
from tests.bench.store_metrics import METRICS, targets
from tests.bench.store_run import TITLES
from tests.bench.targets import Medians


@pytest.mark.parametrize("driver", BACKENDS)
def test_every_target_reads_a_figure_that_a_metric_delivers(driver: str) -> None:
    everything: Medians = {
        (metric.name, subject, figure): 1.0
        for metric in METRICS
        for subject in metric.subjects
        for figure in metric.units
    }
    assert len(report.target_rows(everything, targets(driver))) == len(targets(driver))
    assert TITLES[driver]


def test_every_folder_of_a_service_is_its_own() -> None:
    groups = Backend("file", {}).groups(Path("/one"))
    assert groups[STORE] == {"filesystem_store_datadir": Path("/one/images")}
    assert groups["os_glance_staging_store"] == {"filesystem_store_datadir": Path("/one/staging")}


def test_what_both_services_share_is_the_same_for_both() -> None:
    backend = Backend("rbd", {"rbd_store_pool": "images"})
    assert backend.groups(Path("/one"))[STORE] == backend.groups(Path("/two"))[STORE] == {"rbd_store_pool": "images"}
