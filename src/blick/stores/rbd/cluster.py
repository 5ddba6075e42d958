"""The connection of one store to its cluster: made when first needed, shared by all, made anew after a failure.

Everything here blocks, and may be called from many threads.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from blick.model.errors import StoreError, StoreUnavailable
from blick.stores.ceph_bindings import CephBindings
from blick.stores.rbd.errors import LOST, CephError, as_store_errors, number_of, store_error
from blick.stores.rbd.opened import Lingering
from blick.stores.rbd.options import CONNECT_TIMEOUT_S, OPERATION_TIMEOUT_S, RbdOptions

_log = logging.getLogger(__name__)

_TIMEOUTS = {
    "rados_osd_op_timeout": (0, OPERATION_TIMEOUT_S),
    "rados_mon_op_timeout": (0, OPERATION_TIMEOUT_S),
    "client_mount_timeout": (300, CONNECT_TIMEOUT_S),
}
"""Per option of Ceph's: its own default, which says that nobody set it, and ours."""


class _Connection:
    """One client of the cluster, and how many use it. Counted under the lock of Cluster."""

    def __init__(self, client: Any, lingering: Lingering) -> None:
        self.client = client
        self.lingering = lingering
        self.users = 0
        self.is_lost = False

    def shut_down(self) -> None:
        """Disconnect. Nobody uses it any more."""
        self.lingering.close_all()
        self.client.shutdown()


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool, open for use: `io` is the library's handle. Give it back with `Cluster.release`."""

    store: str
    name: str
    bindings: CephBindings
    io: Any
    features: int
    connection: _Connection

    @property
    def lingering(self) -> Lingering:
        """Where images go that were open for reading."""
        return self.connection.lingering


class Cluster:
    """The cluster of the store `store`. Creating this object connects to nothing, but reads ceph.conf.

    Raises StoreUnavailable, StoreDenied in everything that connects.
    """

    def __init__(self, store: str, bindings: CephBindings, options: RbdOptions) -> None:
        self._store = store
        self._bindings = bindings
        self._options = options
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._current: _Connection | None = None
        self._fsid: str | None = None
        self._failure: StoreError | None = None
        self._failed_at_s = 0.0

    @property
    def known_fsid(self) -> str | None:
        """The cluster's id, None before the first connection."""
        return self._fsid

    def fsid(self) -> str:
        """The cluster's id; connects if that is what it takes."""
        if self._fsid is None:
            self._release_connection(self._connection())
        assert self._fsid is not None
        return self._fsid

    @contextmanager
    def pool(self, name: str | None = None) -> Iterator[Pool]:
        """The pool of that name (None: the configured one) for the body."""
        pool = self.acquire(name)
        try:
            yield pool
        finally:
            self.release(pool)

    def acquire(self, name: str | None = None) -> Pool:
        """The pool of that name (None: the configured one), until `release`."""
        connection = self._connection()
        pool_name = name or self._options.pool
        try:
            return Pool(
                self._store, pool_name, self._bindings, self._open(connection.client, pool_name),
                self._features(connection.client), connection,
            )  # fmt: skip
        except BaseException:
            self._release_connection(connection)
            raise

    def release(self, pool: Pool) -> None:
        """The end of `acquire`. What was opened in the pool is closed by then, or given to its `lingering`."""
        pool.io.close()
        self._release_connection(pool.connection)

    @contextmanager
    def watched(self, pool: Pool) -> Iterator[None]:
        """Raise errors of Ceph's as store errors; after those of a lost connection the next `acquire` makes a new
        one. Whoever still uses the old one may."""
        try:
            yield
        except (self._bindings.rados.Error, self._bindings.rbd.Error, CephError) as error:
            if number_of(error) in LOST:
                _log.warning("store %s: the connection to the Ceph cluster is given up: %s", self._store, error)
                self._forget(pool.connection)
            raise store_error(self._store, error) from error

    def close(self) -> None:
        """Disconnect, as soon as nobody uses the connection any more."""
        with self._lock:
            current = self._current
        if current is not None:
            self._forget(current)

    def _connection(self) -> _Connection:
        asked_at_s = time.monotonic()
        # One connects; whoever waited for that meanwhile takes its failure as his own, instead of waiting once more.
        with self._connecting:
            with self._lock:
                if self._current is not None:
                    self._current.users += 1
                    return self._current
            if self._failure is not None and self._failed_at_s >= asked_at_s:
                raise self._failure
            try:
                client = self._connect()
            except StoreError as error:
                self._failure, self._failed_at_s = error, time.monotonic()
                raise
            made = _Connection(client, Lingering(self._bindings))
            made.users = 1
            with self._lock:
                self._current = made
            return made

    def _connect(self) -> Any:
        rados = self._bindings.rados
        with as_store_errors(self._store, self._bindings):
            try:
                client = rados.Rados(conffile=self._options.ceph_conf, rados_id=self._options.user)
                self._set_options(client)
                client.connect()
            except rados.ObjectNotFound as error:
                # No ceph.conf, no keyring, or no monitors in them.
                raise StoreUnavailable(self._store, "Ceph's configuration or the key of its user is missing") from error
            self._fsid = client.get_fsid()
        return client

    def _set_options(self, client: Any) -> None:
        # librbd's cache would copy every byte once more, and keep up to 32 MiB an image.
        client.conf_set("rbd_cache", "false")
        for option, (default_s, ours_s) in _TIMEOUTS.items():
            if self._options.timeout_s is not None:
                client.conf_set(option, str(self._options.timeout_s))
            elif float(client.conf_get(option)) == default_s:
                client.conf_set(option, str(ours_s))

    def _open(self, client: Any, name: str) -> Any:
        with as_store_errors(self._store, self._bindings):
            try:
                io = client.open_ioctx(name)
            except self._bindings.rados.ObjectNotFound as error:
                raise StoreUnavailable(self._store, f"the cluster has no pool {name!r}") from error
            # Without it a write to a full pool waits until there is room.
            io.set_osdmap_full_try()
            return io

    def _features(self, client: Any) -> int:
        """What new images can do: what ceph.conf says, layering at least, which clones need."""
        rbd = self._bindings.rbd
        with as_store_errors(self._store, self._bindings):
            said = client.conf_get("rbd_default_features") or "0"
            features = int(said) if said.isdecimal() else rbd.RBD().features_from_string(said)
        return int(features) or int(rbd.RBD_FEATURE_LAYERING)

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            if self._current is connection:
                self._current = None
            connection.is_lost = True
            is_unused = connection.users == 0
        if is_unused:
            connection.shut_down()

    def _release_connection(self, connection: _Connection) -> None:
        with self._lock:
            connection.users -= 1
            is_unused = connection.is_lost and connection.users == 0
        if is_unused:
            connection.shut_down()
