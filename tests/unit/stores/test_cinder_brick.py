"""Volumes that os-brick attaches, with its own fake connector: what we do with it needs no kernel module."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blick.model.errors import RangeInvalid, StoreFull, StoreUnavailable
from blick.stores.cinder import brick as cinder_brick
from blick.stores.cinder.brick import BrickDevices
from blick.stores.cinder.options import CinderOptions, read_options

VOLUME = "0a1b2c3d-1111-4222-8333-444455556666"
ISCSI = {"driver_volume_type": "iscsi", "target_iqn": "iqn.2010-10.org.openstack:x", "encrypted": False}
ROOM_BYTES = 1 << 16


@pytest.fixture
def options() -> CinderOptions:
    return read_options("volumes", {"cinder_use_multipath": True, "cinder_mount_point_base": "/mnt/volumes"})


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel would show; lock files are beside it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "device"
    path.write_bytes(bytes(ROOM_BYTES))
    return path


@pytest.fixture
def connected(device: Path) -> list[str]:
    """What os-brick was asked to do, in order."""
    return []


@pytest.fixture
def devices(options: CinderOptions, device: Path, connected: list[str]) -> BrickDevices:
    return BrickDevices("volumes", options, fake_factory(device, connected))


def fake_factory(device: Path, connected: list[str]) -> Callable[..., Any]:
    """os-brick's own fake, whose device is ours, and which notes what it is told."""
    cinder_brick.load_os_brick([])
    from os_brick.initiator.connectors.fake import FakeConnector

    class Fake(FakeConnector):
        fake_path = str(device)

        def connect_volume(self, connection_properties: Any) -> Any:
            connected.append("connect")
            return super().connect_volume(connection_properties)

        def disconnect_volume(self, *arguments: Any, **named: Any) -> None:
            connected.append("disconnect")

    def factory(kind: str, root_helper: str, **named: Any) -> Any:
        connected.append(kind)
        assert named["use_multipath"] is True
        return Fake(root_helper, **named)

    return factory


def test_writes_and_reads_a_device(devices: BrickDevices, device: Path, connected: list[str]) -> None:
    opened = devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=True)
    opened.write(memoryview(b"data"), 10)
    opened.flush()
    opened.close()
    opened.close()
    assert device.read_bytes()[8:16] == b"\0\0data\0\0"
    assert connected == ["iscsi", "connect", "disconnect"]
    reading = devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=False)
    buffer = bytearray(6)
    assert reading.read_into(memoryview(buffer), 9) == 6
    assert buffer == b"\0data\0"
    with pytest.raises(RangeInvalid):
        reading.read_into(memoryview(buffer), ROOM_BYTES)
    with pytest.raises(StoreUnavailable):
        reading.write(memoryview(b"x"), 0)
    reading.close()


def test_nothing_of_python_is_patched() -> None:
    """os-brick imports eventlet, which could make every thread of the service a green one."""
    cinder_brick.load_os_brick([])
    from eventlet.patcher import is_monkey_patched

    assert not [name for name in ("os", "select", "socket", "thread", "time", "subprocess") if is_monkey_patched(name)]


def test_the_thread_that_loads_it_can_end() -> None:
    """In a process of its own: os-brick is loaded once only."""
    program = (
        "from concurrent.futures import ThreadPoolExecutor; from blick.stores.cinder.brick import load_os_brick; "
        "pool = ThreadPoolExecutor(1); pool.submit(load_os_brick, []).result(); pool.shutdown(); print('ended')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "ended\n"


def test_the_last_one_to_go_disconnects(
    devices: BrickDevices, options: CinderOptions, device: Path, connected: list[str]
) -> None:
    """Another object stands for another process: what they share is the lock files."""
    others = BrickDevices("volumes", options, fake_factory(device, connected))
    first = devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=False)
    second = others.open(VOLUME, ISCSI, ROOM_BYTES, writable=False)
    third = devices.open(VOLUME.replace("0", "9"), ISCSI, ROOM_BYTES, writable=False)
    first.close()
    assert "disconnect" not in connected
    third.close()
    assert connected.count("disconnect") == 1
    second.close()
    assert connected.count("disconnect") == 2


def test_a_process_that_died_does_not_count(devices: BrickDevices, device: Path, connected: list[str]) -> None:
    devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=False).close()
    [use] = device.parent.glob(f"blick-cinder-*/{VOLUME}.use")
    program = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_SH); print(flush=True)"
    command = [sys.executable, "-c", f"{program}; sys.stdin.read()", str(use)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=False).close()
        assert connected.count("disconnect") == 1
        other.kill()
    devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=False).close()
    assert connected.count("disconnect") == 2


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (ISCSI | {"encrypted": True}, "encrypted"),
        ({"driver_volume_type": "nfs", "export": "h:/x", "name": "volume", "format": "qcow2"}, "format qcow2"),
    ],
)
def test_volumes_that_cannot_hold_images(
    devices: BrickDevices, connected: list[str], info: dict[str, Any], said: str
) -> None:
    with pytest.raises(StoreUnavailable, match=said):
        devices.open(VOLUME, info, ROOM_BYTES, writable=True)
    assert connected == []


def test_a_device_that_cannot_be_opened_is_given_back(
    devices: BrickDevices, device: Path, connected: list[str]
) -> None:
    device.unlink()
    device.mkdir()
    with pytest.raises(StoreUnavailable, match="device"):
        devices.open(VOLUME, ISCSI, ROOM_BYTES, writable=True)
    assert connected == ["iscsi", "connect", "disconnect"]


def test_a_device_that_stays_too_small(
    devices: BrickDevices, connected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cinder_brick, "SIZE_TIMEOUT_S", 0.0)
    with pytest.raises(StoreUnavailable, match="smaller than its volume"):
        devices.open(VOLUME, ISCSI, ROOM_BYTES + 1, writable=True)
    assert connected == ["iscsi", "connect", "disconnect"]


def test_a_full_device(devices: BrickDevices, device: Path) -> None:
    device.unlink()
    device.symlink_to("/dev/full")
    opened = devices.open(VOLUME, ISCSI, 0, writable=True)
    with pytest.raises(StoreFull):
        opened.write(memoryview(b"x"), 0)
    opened.close()


def test_an_unknown_kind_of_volume(options: CinderOptions, device: Path) -> None:
    """os-brick itself, which has a connector for each kind."""
    with pytest.raises(StoreUnavailable, match="InvalidConnectorProtocol"):
        BrickDevices("volumes", options).open(VOLUME, {"driver_volume_type": "punched cards"}, 1, writable=True)


def test_os_brick_makes_the_connector_for_nfs(options: CinderOptions, device: Path) -> None:
    """As far as one gets without NFS in the kernel: the export is mounted where the option says."""
    info = {"driver_volume_type": "nfs", "export": "host.invalid:/images", "name": "volume-x", "format": "raw"}
    brick = BrickDevices("volumes", options).brick("nfs", info, cinder_brick.load_os_brick([]))
    assert brick.get_search_path() == "/mnt/volumes/nfs"
