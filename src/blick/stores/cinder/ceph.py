"""Volumes on Ceph, read and written through librbd."""

import socket
from typing import Any

from blick.model.errors import RangeInvalid, StoreUnavailable
from blick.stores.ceph_bindings import load_bindings
from blick.stores.cinder.devices import Device, Info
from blick.stores.cinder.options import CinderOptions
from blick.stores.rbd.cluster import Cluster, Pool
from blick.stores.rbd.options import RbdOptions

_PIECE_BYTES = 4 << 20


class CephDevices:
    """Through librbd, with the keys that ceph.conf leads to; no rights of root, no kernel module."""

    def __init__(self, store: str, options: CinderOptions) -> None:
        self._store = store
        self._conf = options.ceph_conf or ""
        self._bindings = load_bindings(store)
        self._clusters: dict[str, Cluster] = {}

    def connector(self) -> dict[str, Any]:
        """See Devices."""
        return {"host": socket.gethostname(), "ip": "127.0.0.1", "do_local_attach": False, "multipath": False}

    def open(self, volume_id: str, info: Info, room_bytes: int, *, writable: bool) -> Device:  # noqa: ARG002
        """See Devices."""
        if info.get("driver_volume_type") != "rbd":
            raise StoreUnavailable(self._store, "cinder_ceph_conf is set, but the volume is not on Ceph")
        pool_name, _, image = str(info["name"]).partition("/")
        user = str(info.get("auth_username") or "") or None
        # setdefault is atomic: whoever comes second uses the first one's, and nothing is connected yet.
        options = RbdOptions(pool=pool_name, user=user, ceph_conf=self._conf)
        cluster = self._clusters.setdefault(user or "", Cluster(self._store, self._bindings, options))
        return _CephDevice(self._store, cluster, pool_name, image, writable=writable)

    def close(self) -> None:
        """See Devices."""
        for cluster in self._clusters.values():
            cluster.close()


class _CephDevice:
    def __init__(self, store: str, cluster: Cluster, pool: str, image: str, *, writable: bool) -> None:
        self._store = store
        self._cluster = cluster
        self._pool: Pool | None = cluster.acquire(pool)
        self._image: Any = None
        try:
            with cluster.watched(self._pool):
                self._image = self._pool.bindings.rbd.Image(self._pool.io, image, read_only=not writable)
        except BaseException:
            self.close()
            raise

    def read_into(self, buffer: memoryview, offset_bytes: int) -> int:
        assert self._pool is not None
        with self._cluster.watched(self._pool):
            data = self._image.read(offset_bytes, len(buffer))
        if not data:
            raise RangeInvalid(self._store)
        buffer[: len(data)] = data
        return len(data)

    def write(self, buffer: memoryview, offset_bytes: int) -> None:
        assert self._pool is not None
        with self._cluster.watched(self._pool):
            for begin in range(0, len(buffer), _PIECE_BYTES):
                # The library takes nothing but bytes, so that each piece is copied.
                self._image.write(bytes(buffer[begin : begin + _PIECE_BYTES]), offset_bytes + begin)

    def flush(self) -> None:
        assert self._pool is not None
        with self._cluster.watched(self._pool):
            self._image.flush()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            if self._image is not None:
                with self._cluster.watched(pool):
                    self._image.close()
        finally:
            self._cluster.release(pool)
