"""The contract of import plugins, which look at staged data, or change it, before it goes into stores.

Plugins are found by entry point (group `blick.import_plugins`, the name is what the option image_import_plugins says)
and run in the option's order, each in a step of its own: one that was cut off is run again from its beginning.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from blick.model.context import RequestContext
from blick.model.image import Image
from blick.ops.services import Services

KEEP_FREE_BYTES: Final = 256 << 20
"""What a plugin that makes new data leaves of the disk to others, who may work on it at the same time."""
SMALL_BYTES: Final = 64 << 20
"""New data up to this size is no bomb, however small what it was made from is."""

Tell = Callable[[int, int | None], None]
"""Notes how many bytes are done, and of how many if that is known. Cheap; may be called at any rate."""


@dataclass(frozen=True, slots=True)
class PluginInput:
    """What a plugin may look at. `image` is the record as it is now, `caller` who asked for the import.

    `file` is the staged data, on this machine, not to be written. `result_file` is where changed data goes: a path in a
    folder of this node where there may be a left-over of an earlier run, to be replaced.
    """

    image: Image
    caller: RequestContext
    file: Path
    result_file: Path


@dataclass(frozen=True, slots=True)
class PluginResult:
    """What came out. `has_new_data`: the data is what lies, whole and on the disk, at `result_file` now.

    `values` are columns of the image that change with it (disk_format, container_format, virtual_size), `properties`
    custom properties that it gets.
    """

    has_new_data: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Plugin(Protocol):
    """One plugin: a module, or an object, with these."""

    @property
    def name(self) -> str:
        """That of its entry point."""
        ...

    @property
    def changes_data(self) -> bool:
        """May it ever? Then nothing is hashed before it has run."""
        ...

    async def run(self, services: Services, given: PluginInput, tell: Tell) -> PluginResult:
        """Do it. Raises Invalid, UnsupportedMediaType, LimitExceeded, StoreFull with a text for the caller: the import
        fails so. ServiceUnavailable, where this node cannot do it now: it is tried again, later or elsewhere.

        Cancelled or failed: no process of its runs any more; what it left at `result_file` is removed by the caller.
        """
        ...
