"""Disks that take part of their content from another file, in ways that the library's inspectors do not look for.

Whoever reads such a disk later (a hypervisor, qemu-img) opens the file that it names, with their own rights.
"""

import struct
import uuid
from typing import Any, Final

_VHD_DIFFERENCING: Final = 4
_VDI_UNDO_OR_DIFFERENCING: Final = (3, 4)
_VHDX_PARENT_LOCATOR: Final = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_VMDK_DESCRIPTOR_AT: Final = 512
_VMDK_PARENT: Final = b"parentfilenamehint"


def told_by_head(disk_format: str, head: bytes) -> str | None:
    """Why a disk of that format with these first bytes does not stand alone; None if nothing there says so."""
    match disk_format:
        case "vhd":
            return "It is the difference to a parent disk." if _vhd_has_parent(head) else None
        case "vdi":
            return "It is the difference to a parent disk." if _vdi_has_parent(head) else None
        case "vmdk":
            return _vmdk_complaint(head)
        case _:
            return None


def told_by_metadata(inspector: Any) -> str | None:
    """The same of a VHDX, whose table of metadata may lie far behind its head, as its inspector has collected it."""
    if inspector.NAME == "vhdx" and inspector.has_region("metadata"):
        table: bytes = inspector.region("metadata").data
        return "It is the difference to a parent disk." if _VHDX_PARENT_LOCATOR in table else None
    return None


def _vhd_has_parent(head: bytes) -> bool:
    return len(head) >= 64 and struct.unpack_from(">I", head, 60)[0] == _VHD_DIFFERENCING


def _vdi_has_parent(head: bytes) -> bool:
    return len(head) >= 80 and struct.unpack_from("<I", head, 76)[0] in _VDI_UNDO_OR_DIFFERENCING


def _vmdk_complaint(head: bytes) -> str | None:
    if not head.startswith(b"KDMV"):
        return None
    if len(head) >= 20 and struct.unpack_from("<Q", head, 12)[0] == 0:
        # Readers then take the disk from the extents of the descriptor, to whose announced length they do not keep.
        return "Its data lies in other files."
    # Readers look for the parent up to the first NUL, whatever length the header announces.
    text = head[_VMDK_DESCRIPTOR_AT:].partition(b"\0")[0]
    return "It names a parent disk." if _VMDK_PARENT in text.lower() else None
