"""The rbd driver's options, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blick.model.errors import StartRefused

MIB = 1 << 20
# Ceph's own defaults are to wait for ever, and 300 s for a connection. An osd that dies is missed after 20 s and its
# placement groups are served by others some seconds later: that a request has to survive.
OPERATION_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 30
_GRACE_S = 15
_SMALLEST_OBJECT_MIB, _LARGEST_OBJECT_MIB = 1, 32
"""RBD's own ceiling is 2**25 bytes."""


@dataclass(frozen=True, slots=True)
class RbdOptions:
    """What the operator said. `user` None: Ceph's default client; `ceph_conf` empty: where librados looks by itself;
    `timeout_s` None: nothing was said, 0: wait for ever."""

    pool: str = "images"
    user: str | None = None
    ceph_conf: str = ""
    timeout_s: int | None = None
    object_bytes: int = 8 * MIB
    thin_provisioning: bool = False

    @property
    def order(self) -> int:
        """The size of a RADOS object, as RBD wants it: the exponent of 2."""
        return self.object_bytes.bit_length() - 1

    @property
    def closing_limit_s(self) -> float | None:
        """How long an upload's end may take: as long as one of its operations, and some; None: for ever."""
        if self.timeout_s == 0:
            return None
        return (self.timeout_s or OPERATION_TIMEOUT_S) + _GRACE_S


def read_options(store: str, options: Mapping[str, Any]) -> RbdOptions:
    """The options `rbd_*` of one store. Raises StartRefused, naming the option and what is wrong with it."""
    timeout = options.get("rados_connect_timeout")
    return RbdOptions(
        pool=_pool(store, options),
        user=options.get("rbd_store_user") or None,
        ceph_conf=_ceph_conf(store, options),
        timeout_s=None if timeout is None or int(timeout) < 0 else int(timeout),
        object_bytes=_object_bytes(store, options),
        thin_provisioning=bool(options.get("rbd_thin_provisioning")),
    )


def _pool(store: str, options: Mapping[str, Any]) -> str:
    pool = str(options.get("rbd_store_pool", "images") or "")
    if not pool:
        raise StartRefused(f"Store {store}: rbd_store_pool must name a pool.")
    return pool


def _ceph_conf(store: str, options: Mapping[str, Any]) -> str:
    path = str(options.get("rbd_store_ceph_conf") or "")
    if path and not Path(path).is_file():
        raise StartRefused(f"Store {store}: rbd_store_ceph_conf: there is no file {path}.")
    return path


def _object_bytes(store: str, options: Mapping[str, Any]) -> int:
    size_mib = int(options.get("rbd_store_chunk_size") or 8)
    if not _SMALLEST_OBJECT_MIB <= size_mib <= _LARGEST_OBJECT_MIB or size_mib & (size_mib - 1):
        raise StartRefused(
            f"Store {store}: rbd_store_chunk_size: {size_mib} is not a power of two "
            f"from {_SMALLEST_OBJECT_MIB} to {_LARGEST_OBJECT_MIB}."
        )
    return size_mib * MIB
