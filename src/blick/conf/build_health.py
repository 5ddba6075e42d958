"""[healthcheck]: who may ask how the service is, and what decides about the answer."""

from collections.abc import Iterator
from pathlib import Path

from blick.conf.reading import Reading
from blick.conf.settings import HealthSettings

_GROUP = "healthcheck"
_BACKENDS = frozenset({"disable_by_file", "disable_by_files_ports", "enable_by_files"})


def health_settings(reading: Reading) -> HealthSettings:
    """Files count where they are named; `backends` need not say so as well."""
    backends = frozenset(reading.get(_GROUP, "backends"))
    for unknown in sorted(backends - _BACKENDS):
        reading.warn(_GROUP, "backends", f"knows no {unknown}; there are {', '.join(sorted(_BACKENDS))}.")
    if {"disable_by_file", "enable_by_files"} <= backends:
        reading.wrong(_GROUP, "backends", "must not have both disable_by_file and enable_by_files.")
    return HealthSettings(
        detailed=reading.get(_GROUP, "detailed"),
        allowed_source_ranges=reading.networks(_GROUP, "allowed_source_ranges"),
        ignore_proxied_requests=reading.get(_GROUP, "ignore_proxied_requests"),
        disable_by_files=tuple(_disabling(reading)),
        enable_by_files=tuple(Path(text).expanduser() for text in reading.get(_GROUP, "enable_by_file_paths") if text),
    )


def _disabling(reading: Reading) -> Iterator[tuple[int | None, Path]]:
    everywhere = reading.text(_GROUP, "disable_by_file_path")
    if everywhere is not None:
        yield None, Path(everywhere).expanduser()
    for text in filter(None, reading.get(_GROUP, "disable_by_file_paths")):
        port, colon, path = text.partition(":")
        if port.isdecimal() and colon and path:
            yield int(port), Path(path).expanduser()
        else:
            reading.wrong(_GROUP, "disable_by_file_paths", f"{text} is not a port, a colon and a path.")
