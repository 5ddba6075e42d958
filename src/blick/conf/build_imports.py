"""Where data may be fetched from, and how the tasks that fetch it behave."""

from typing import Any

from blick.conf.reading import Reading
from blick.conf.settings import ImportSettings
from blick.model.uri_filter import UriFilter


def import_settings(reading: Reading) -> ImportSettings:
    """The settings of imports and their tasks."""
    return ImportSettings(
        uri_filter=uri_filter(reading),
        do_secure_hash=reading.get("DEFAULT", "do_secure_hash"),
        http_retries=reading.get("DEFAULT", "http_retries"),
        task_time_to_live_h=reading.get("task", "task_time_to_live"),
        max_workers=reading.get("taskflow_executor", "max_workers"),
    )


def uri_filter(reading: Reading) -> UriFilter:
    """What [import_filtering_opts] says."""

    def get(name: str) -> tuple[Any, ...]:
        return tuple(reading.get("import_filtering_opts", name) or ())

    return UriFilter(
        allowed_schemes=tuple(scheme.lower() for scheme in get("allowed_schemes")),
        disallowed_schemes=tuple(scheme.lower() for scheme in get("disallowed_schemes")),
        allowed_hosts=get("allowed_hosts"),
        disallowed_hosts=get("disallowed_hosts"),
        allowed_ports=get("allowed_ports"),
        disallowed_ports=get("disallowed_ports"),
    )
