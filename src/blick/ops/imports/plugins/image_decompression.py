"""Import plugin that unpacks data packed with gzip, bzip2, xz, zstd or in a zip archive of one file.

What the data is packed with is told by its first bytes. Data that is not packed stays as it is, and so does that of
images whose container format is "compressed", because that is what their owners want.
"""

from typing import Final

from blick.ops.imports.plugins.plugin import KEEP_FREE_BYTES, SMALL_BYTES, PluginInput, PluginResult, Tell
from blick.ops.services import Services
from blick.stream.decompress import Bounds, decompress
from blick.stream.hop import hop
from blick.stream.packed import recognise

name: Final = "image_decompression"
changes_data: Final = True


async def run(services: Services, given: PluginInput, tell: Tell) -> PluginResult:
    """Unpack. Raises Invalid, LimitExceeded, ServiceUnavailable."""
    if given.image.container_format == "compressed":
        return PluginResult()
    packed = await hop(None, recognise, given.file)
    if packed is None:
        return PluginResult()
    bounds = Bounds(
        size_bytes=services.settings.quotas.image_size_cap_bytes,
        ratio=services.settings.imports.decompress_ratio,
        small_bytes=SMALL_BYTES,
        keep_free_bytes=KEEP_FREE_BYTES,
    )
    await decompress(packed, given.file, given.result_file, bounds, tell)
    return PluginResult(has_new_data=True)
