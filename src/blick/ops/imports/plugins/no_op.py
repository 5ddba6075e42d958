"""Import plugin that changes nothing: its line in the log shows that plugins run, and on what."""

import logging
from typing import Final

from blick.ops.imports.plugins.plugin import PluginInput, PluginResult, Tell
from blick.ops.services import Services

_log = logging.getLogger(__name__)

name: Final = "no_op"
changes_data: Final = False


async def run(services: Services, given: PluginInput, tell: Tell) -> PluginResult:  # noqa: ARG001 - the contract's
    """Log that it was called."""
    _log.info("import plugin no_op: image %s, data of the format %s", given.image.id, given.image.disk_format)
    return PluginResult()
