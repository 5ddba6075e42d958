"""[healthcheck]."""

from pathlib import Path

import pytest

from blick.conf.settings import HealthSettings
from tests.unit.conf.files import Config


def test_nothing_said(config: Config) -> None:
    assert config.load("").settings.health == HealthSettings()


def test_files_and_callers(config: Config) -> None:
    loaded = config.load(
        "[healthcheck]\nbackends = disable_by_file, disable_by_files_ports\ndisable_by_file_path = /run/down\n"
        "disable_by_file_paths = 9292:/run/a, 9393:/run/b:c\nenable_by_file_paths = /srv/x, /srv/y\n"
        "allowed_source_ranges = 10.0.0.0/8, ::1\nignore_proxied_requests = true\ndetailed = true\n"
    )
    health = loaded.settings.health
    assert health.disable_by_files == ((None, Path("/run/down")), (9292, Path("/run/a")), (9393, Path("/run/b:c")))
    assert health.enable_by_files == (Path("/srv/x"), Path("/srv/y"))
    assert [str(network) for network in health.allowed_source_ranges] == ["10.0.0.0/8", "::1/128"]
    assert (health.ignore_proxied_requests, health.detailed) == (True, True)
    assert loaded.findings == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("backends = disable_by_file, enable_by_files", "both"),
        ("allowed_source_ranges = everywhere", "neither an address nor a network"),
        ("disable_by_file_paths = /run/down", "a port, a colon and a path"),
        ("disable_by_file_paths = 9292:", "a port, a colon and a path"),
    ],
)
def test_refused(config: Config, line: str, reason: str) -> None:
    assert reason in config.refusal(f"[healthcheck]\n{line}\n")


def test_a_backend_of_somebody_elses(config: Config) -> None:
    assert "knows no ceph" in config.warnings("[healthcheck]\nbackends = ceph\n")[0]
