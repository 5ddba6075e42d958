"""Volumes as something to read and write, once Cinder has told how to reach them; blocking.

There are two ways: through librbd, where volumes are on Ceph and no device is needed (cinder_ceph), and through
os-brick, which makes the kernel attach them, or mounts what they are files of (cinder_brick).
"""

from collections.abc import Mapping
from typing import Any, Protocol

Info = Mapping[str, Any]
"""How to reach a volume, as Cinder says it to this host."""


class Device(Protocol):
    """An attached volume. Several threads may read at once."""

    def read_into(self, buffer: memoryview, offset_bytes: int) -> int:
        """Fill `buffer`, or some of it. Raises RangeInvalid behind the end."""
        ...

    def write(self, buffer: memoryview, offset_bytes: int) -> None:
        """Write all of `buffer`."""
        ...

    def flush(self) -> None:
        """Have everything that was written on the other side."""
        ...

    def close(self) -> None:
        """Let go of the volume. May be repeated."""
        ...


class Devices(Protocol):
    """A way to reach volumes from this host."""

    def connector(self) -> dict[str, Any]:
        """Who we are, for Cinder."""
        ...

    def open(self, volume_id: str, info: Info, room_bytes: int, *, writable: bool) -> Device:
        """The volume that is attached as `info` says. Raises StoreUnavailable, StoreDenied."""
        ...

    def close(self) -> None:
        """No device is open any more."""
        ...
