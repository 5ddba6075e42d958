"""Disk images that nobody makes by accident: small files that stand for enormous disks."""

import struct
import zlib
from pathlib import Path

CLUSTER_BITS = 16
CLUSTER_BYTES = 1 << CLUSTER_BITS
_PER_TABLE = CLUSTER_BYTES // 8
_COPIED = 1 << 63
_COMPRESSED = 1 << 62


def repeating_qcow2(path: Path, virtual_size_bytes: int, content: bytes, *, compressed: bool = False) -> Path:
    """A qcow2 of some 300 KiB all of whose clusters are the same one: `content`, up to 64 KiB, padded with zeros.

    Everything in it is well-formed for a reader: every entry of the first table names the same second table, whose
    entries all name the same cluster.
    """
    tables = -(-virtual_size_bytes // (_PER_TABLE * CLUSTER_BYTES))
    l1_clusters = -(-tables * 8 // CLUSTER_BYTES)
    l1_at, l2_at = 2 * CLUSTER_BYTES, (2 + l1_clusters) * CLUSTER_BYTES
    data_at = l2_at + CLUSTER_BYTES
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, virtual_size_bytes, 0, tables, l1_at, CLUSTER_BYTES, 1, 0, 0,
        0, 0, 0, 4, 104,
    )  # fmt: skip
    cluster = content.ljust(CLUSTER_BYTES, b"\0")
    if compressed:
        packer = zlib.compressobj(9, zlib.DEFLATED, -12)
        cluster = packer.compress(cluster) + packer.flush()
        sectors = (data_at % 512 + len(cluster) - 1) // 512
        entry = _COMPRESSED | sectors << (62 - (CLUSTER_BITS - 8)) | data_at
    else:
        entry = _COPIED | data_at
    with path.open("wb") as file:
        file.write(header)
        file.seek(l1_at)
        file.write(struct.pack(">Q", _COPIED | l2_at) * tables)
        file.seek(l2_at)
        file.write(struct.pack(">Q", entry) * _PER_TABLE)
        file.seek(data_at)
        file.write(cluster.ljust(CLUSTER_BYTES, b"\0"))
    return path
