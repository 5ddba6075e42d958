"""Volumes that os-brick attaches to this host: by iSCSI, Fibre Channel, NVMe-oF and so on, or as files on NFS."""

import errno
import fcntl
import importlib
import logging
import os
import shlex
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from blick.model.errors import RangeInvalid, StartRefused, StoreDenied, StoreFull, StoreUnavailable
from blick.stores.cinder.ceph import CephDevices
from blick.stores.cinder.devices import Device, Info
from blick.stores.cinder.options import CinderOptions

_log = logging.getLogger(__name__)

SIZE_TIMEOUT_S = 20.0
"""How long a device may take to show the size that its volume has (PowerFlex needs that)."""


class BrickDevices:
    """Through os-brick, which runs what it needs as root by `cinder_root_helper`.

    `factory` makes its connectors: os-brick's own by default.
    """

    def __init__(self, store: str, options: CinderOptions, factory: Callable[..., Any] | None = None) -> None:
        self._store = store
        self._options = options
        self._factory = factory
        self._identity: dict[str, Any] | None = None
        self._ceph: CephDevices | None = None
        # Others of this host look there, too: with one device for all, the last one to go takes it away.
        self._locks = Path(tempfile.gettempdir()) / f"blick-cinder-{os.getuid()}"

    def connector(self) -> dict[str, Any]:
        """See Devices."""
        if self._identity is None:
            with self._errors() as connectors:
                self._identity = dict(
                    connectors.get_connector_properties(
                        self._options.root_helper,
                        _own_address(),
                        self._options.use_multipath,
                        self._options.enforce_multipath,
                        host=socket.gethostname(),
                    )
                )
        return self._identity

    def open(self, volume_id: str, info: Info, room_bytes: int, *, writable: bool) -> Device:
        """See Devices."""
        kind = str(info.get("driver_volume_type", ""))
        if info.get("encrypted"):
            raise StoreUnavailable(self._store, "images are not kept in encrypted volumes")
        if str(info.get("format", "raw")) != "raw":
            raise StoreUnavailable(self._store, f"images are not kept in volumes of format {info['format']}")
        if kind == "rbd":
            # os-brick's connector for it would write a ceph.conf of its own, and give a file-like object.
            return self._librbd().open(volume_id, info, room_bytes, writable=writable)
        with self._errors() as connectors:
            brick = self.brick(kind, info, connectors)
            with self._turn(volume_id):
                device = brick.connect_volume(info)
                use = self._lock_file(volume_id, "use")
                fcntl.flock(use, fcntl.LOCK_SH)

        def disconnect() -> None:
            # Several of this host may have the one device; only the last one to go takes it away. A process that
            # died has let go of its lock.
            with self._errors(), self._turn(volume_id):
                try:
                    fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    brick.disconnect_volume(info, device)
                except BlockingIOError:
                    _log.debug("store %s: volume %s stays attached for others", self._store, volume_id)
                finally:
                    os.close(use)

        try:
            return _LocalDevice(self, str(device["path"]), disconnect, room_bytes, writable=writable)
        except BaseException:
            disconnect()
            raise

    def take_over(self, path: str, user_id: int) -> None:
        """Make a device ours, or give it back to root."""
        from os_brick.privileged import rootwrap

        with self._errors():
            rootwrap.execute_root("chown", str(user_id), path)

    def close(self) -> None:
        """See Devices."""
        if self._ceph is not None:
            self._ceph.close()

    def _librbd(self) -> CephDevices:
        """For volumes on Ceph, with the ceph.conf that librados finds by itself."""
        try:
            self._ceph = self._ceph or CephDevices(self._store, self._options)
        except StartRefused as error:
            raise StoreUnavailable(
                self._store, "the volume is on Ceph, and Ceph's Python modules are missing"
            ) from error
        return self._ceph

    @property
    def store(self) -> str:
        """The store's id."""
        return self._store

    @property
    def _root_command(self) -> list[str]:
        return [] if os.geteuid() == 0 else shlex.split(self._options.root_helper)

    def brick(self, kind: str, info: Info, connectors: Any) -> Any:
        """os-brick's connector for volumes of that kind."""
        factory = self._factory or connectors.InitiatorConnector.factory
        mount = {"nfs_mount_point_base": f"{self._options.mount_base}/nfs"} if kind == "nfs" else {}
        return factory(
            kind, self._options.root_helper, use_multipath=self._options.use_multipath, conn=dict(info), **mount
        )

    @contextmanager
    def _errors(self) -> Iterator[Any]:
        """Errors of os-brick, in the words of a store; gives its connectors."""
        connectors = load_os_brick(self._root_command)
        from os_brick.exception import BrickException
        from oslo_concurrency.processutils import ProcessExecutionError
        from oslo_privsep.daemon import FailedToDropPrivileges

        try:
            yield connectors
        except FailedToDropPrivileges as error:
            raise StoreDenied(
                self._store, "os-brick has no right to run commands as root (cinder_root_helper)"
            ) from error
        except (BrickException, ProcessExecutionError, OSError, ValueError) as error:
            _log.warning("store %s: os-brick: %s: %s", self._store, type(error).__name__, error)
            raise StoreUnavailable(self._store, f"the volume cannot be attached: {type(error).__name__}") from error

    @contextmanager
    def _turn(self, volume_id: str) -> Iterator[None]:
        """One of this host's processes at a time connects or disconnects a volume."""
        lock = self._lock_file(volume_id, "turn")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _lock_file(self, volume_id: str, kind: str) -> int:
        self._locks.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._locks / f"{volume_id}.{kind}", flags, 0o600)


class _LocalDevice:
    """A device, or a file on a mount, by its path."""

    def __init__(
        self, devices: BrickDevices, path: str, disconnect: Callable[[], None], room_bytes: int, *, writable: bool
    ) -> None:
        self._devices = devices
        self._path = path
        self._disconnect = disconnect
        self._was_taken_over = False
        self._is_closed = False
        access = os.O_RDWR if writable else os.O_RDONLY
        if not os.access(self._path, os.R_OK | (os.W_OK if writable else 0)):
            devices.take_over(self._path, os.geteuid())
            self._was_taken_over = True
        with self._errors():
            self._file = os.open(self._path, access | os.O_CLOEXEC)
        try:
            self._wait_for_size(room_bytes)
        except BaseException:
            os.close(self._file)
            raise

    def read_into(self, buffer: memoryview, offset_bytes: int) -> int:
        with self._errors():
            count = os.preadv(self._file, [buffer], offset_bytes)
        if not count:
            raise RangeInvalid(self._devices.store)
        return count

    def write(self, buffer: memoryview, offset_bytes: int) -> None:
        with self._errors():
            done = 0
            while done < len(buffer):
                with buffer[done:] as rest:
                    done += os.pwrite(self._file, rest, offset_bytes + done)

    def flush(self) -> None:
        with self._errors():
            os.fsync(self._file)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        os.close(self._file)
        if self._was_taken_over:
            self._devices.take_over(self._path, 0)
        self._disconnect()

    def _wait_for_size(self, room_bytes: int) -> None:
        give_up_at_s = time.monotonic() + SIZE_TIMEOUT_S
        while os.lseek(self._file, 0, os.SEEK_END) < room_bytes:
            if time.monotonic() > give_up_at_s:
                raise StoreUnavailable(self._devices.store, "the attached device is smaller than its volume")
            time.sleep(0.5)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
            raise kind(self._devices.store, f"the attached device fails: {error.strerror}") from error


def load_os_brick(root_command: list[str]) -> Any:
    """os-brick's connectors, which run what they need as root by that command; empty: who we are may do it."""
    if "eventlet" not in sys.modules:
        # os-brick brings eventlet. That patches nothing, but loads a second `threading`, which takes the loading thread
        # for its main one: nobody can join that any more. So it is one that nobody will.
        loaded: Future[None] = Future()
        Thread(target=_load, args=(loaded,), daemon=True).start()
        loaded.result()
    from os_brick import privileged
    from os_brick.initiator import connector
    from oslo_privsep import priv_context

    if root_command:
        priv_context.init(root_helper=root_command)
    else:
        for context in (privileged.default, privileged.brick_privsep_hide_output):
            context.set_client_mode(False)
    return connector


def _load(loaded: "Future[None]") -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # eventlet warns of itself
            importlib.import_module("os_brick.initiator.connector")
    except BaseException as error:  # not swallowed: it is raised where it is waited for
        loaded.set_exception(error)
    else:
        loaded.set_result(None)


def _own_address() -> str:
    """The address of this host by which it reaches others; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"
