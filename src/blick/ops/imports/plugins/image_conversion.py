"""Import plugin that converts disks to the format of the option [image_conversion] output_format.

What the data is comes from the data; it has to be what the image says, safe, and understood the same way by qemu-img,
or the import fails. CD images stay as they are. What comes out is looked at like what came in.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from blick.conf.settings import Settings
from blick.model.errors import Invalid, LimitExceeded, UnsupportedMediaType
from blick.ops.imports.plugins.plugin import KEEP_FREE_BYTES, SMALL_BYTES, PluginInput, PluginResult, Tell
from blick.ops.services import Services
from blick.stream import convert
from blick.stream.convert import QEMU_NAMES, Disk, QemuImg, Room, find_qemu_img
from blick.stream.hop import hop, interruptible_hop
from blick.stream.inspect import Inspection, inspect_file

_log = logging.getLogger(__name__)

name: Final = "image_conversion"
changes_data: Final = True

# What is no disk, whatever bytes it begins with: converted it would be of no use to anybody.
_ARCHIVES: Final = frozenset({"docker", "ova", "compressed"})
# The kinds of VMDK that are one file; the first that the operator allows is what is written.
_VMDK_TYPES: Final = ("monolithicSparse", "streamOptimized")


@dataclass(frozen=True, slots=True)
class _Content:
    """What inspection found: a disk format as images have it, and the size of the disk inside."""

    disk_format: str
    virtual_size_bytes: int | None


async def run(services: Services, given: PluginInput, tell: Tell) -> PluginResult:
    """Convert. Raises UnsupportedMediaType, Invalid, LimitExceeded, ServiceUnavailable."""
    settings, image = services.settings, given.image
    target_format = settings.imports.convert_to
    content = await _content_of(given.file, image.disk_format or "", settings)
    # Of raw data there is nothing that qemu-img would have to say.
    if content.disk_format == "iso" or content.disk_format == "raw" == target_format:
        is_disk = image.container_format not in _ARCHIVES
        return PluginResult(values={"virtual_size": content.virtual_size_bytes} if is_disk else {})
    tool = find_qemu_img(settings.imports)
    disk = await convert.info(tool, given.file, content.disk_format)
    _require_convertible(disk, content, settings)
    values: dict[str, Any] = {"virtual_size": disk.virtual_size_bytes}
    if content.disk_format == target_format:
        return PluginResult(values=values)
    if image.container_format in _ARCHIVES:
        raise Invalid(f"Data in a container of the format {image.container_format} cannot be converted.")
    await _convert(tool, given, content, disk, settings, tell)
    values |= {"disk_format": target_format, "container_format": "bare"}
    return PluginResult(has_new_data=True, values=values)


async def _content_of(file: Path, declared: str, settings: Settings) -> _Content:
    """What is in the file, which has to be what is declared. Raises UnsupportedMediaType."""
    strict = replace(settings.image_format, require_image_format_match=True)
    inspection = Inspection(declared, "bare", strict)
    broken_off = threading.Event()
    virtual_size_bytes = await interruptible_hop(
        None, broken_off.set, inspect_file, file, inspection, lambda: not broken_off.is_set()
    )
    found = "raw" if inspection.content in ("gpt", None) else inspection.content
    wanted = "raw" if declared == "gpt" else declared
    if found != wanted:
        raise UnsupportedMediaType(f"Image content does not match disk_format: declared {declared}, found {found}.")
    if found not in QEMU_NAMES and found != "iso":
        raise UnsupportedMediaType(f"Image content of the format {found} cannot be converted.")
    return _Content(found, virtual_size_bytes)


def _require_convertible(disk: Disk, content: _Content, settings: Settings) -> None:
    """Raises UnsupportedMediaType for what qemu-img sees otherwise, or would need other files or a key for."""
    if disk.qemu_format != QEMU_NAMES[content.disk_format]:
        raise UnsupportedMediaType(f"Image content cannot be read as {content.disk_format}.")
    if disk.needs:
        _log.warning("refused a disk that needs other files: %s", ", ".join(disk.needs))
        raise UnsupportedMediaType("Image failed safety checks: It needs other files.")
    if disk.is_encrypted:
        raise UnsupportedMediaType("An encrypted image cannot be converted.")
    if content.disk_format == "vmdk" and disk.create_type not in settings.image_format.vmdk_allowed_types:
        raise UnsupportedMediaType(f"VMDK images of the type {disk.create_type} are not allowed.")


async def _convert(
    tool: QemuImg, given: PluginInput, content: _Content, disk: Disk, settings: Settings, tell: Tell
) -> None:
    target_format, size_bytes = settings.imports.convert_to, disk.virtual_size_bytes
    most_bytes = settings.quotas.image_size_cap_bytes
    if target_format == "raw" and size_bytes > most_bytes:
        raise LimitExceeded(
            f"The image cannot be converted: its disk of {size_bytes} bytes is larger than an image may be here."
        )
    source_bytes = (await hop(None, given.file.stat)).st_size
    room = Room(
        file_bytes=most_bytes,
        disk_bytes=min(most_bytes, max(SMALL_BYTES, source_bytes * settings.imports.decompress_ratio)),
        keep_free_bytes=KEEP_FREE_BYTES,
    )
    await convert.convert(
        tool,
        given.file,
        content.disk_format,
        given.result_file,
        target_format,
        room,
        lambda part: tell(int(part * size_bytes), size_bytes),
        _options(target_format, settings),
    )
    try:
        await _content_of(given.result_file, target_format, settings)
    except UnsupportedMediaType as error:
        # A guest wrote onto its disk what makes a trap of the disk without the format around it.
        raise UnsupportedMediaType(f"What the image converts to is refused. {error}") from error


def _options(target_format: str, settings: Settings) -> Mapping[str, str]:
    if target_format != "vmdk":
        return {}
    allowed = [kind for kind in _VMDK_TYPES if kind in settings.image_format.vmdk_allowed_types]
    return {"subformat": allowed[0] if allowed else _VMDK_TYPES[0]}
