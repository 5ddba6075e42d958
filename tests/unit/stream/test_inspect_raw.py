"""Content that calls itself raw: everything that is safe is taken; of what looks like a mistake the log tells."""

import logging

import pytest

from blick.conf.settings import ImageFormatSettings
from blick.stream.inspect import Inspection
from tests.unit.stream.test_inspect import qcow2, vdi

SECTOR = 512


def partitioned() -> bytes:
    """A disk with one partition, as most raw images are."""
    entry = bytes((0x80, 0, 2, 0, 0x83, 0, 3, 0)) + (1).to_bytes(4, "little") + (7).to_bytes(4, "little")
    return (bytes(446) + entry + bytes(48) + b"\x55\xaa").ljust(8 * SECTOR, b"\0")


def iso() -> bytes:
    return (bytes(0x8000) + b"\x01CD001\x01").ljust(0x9000, b"\0")


@pytest.mark.parametrize(
    ("data", "found"), [(qcow2(), "qcow2"), (vdi(), "vdi"), (partitioned(), None), (iso(), None), (b"a" * 99, None)]
)
def test_what_the_log_tells(data: bytes, found: str | None, caplog: pytest.LogCaptureFixture) -> None:
    inspection = Inspection("raw", "bare", ImageFormatSettings())
    with caplog.at_level(logging.WARNING):
        inspection.feed(memoryview(data))
        assert inspection.finish(len(data)) == len(data)
    told = [record.getMessage() for record in caplog.records]
    assert told == ([f"Content accepted as raw although it is of format {found}"] if found else [])
