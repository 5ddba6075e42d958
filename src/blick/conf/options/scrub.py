"""Delayed deletion and the scrubber."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("scrub_time", "int", 0, "Age in seconds before a pending_delete image is scrubbed", minimum=0),
    Option("scrub_pool_size", "int", 1, "Parallel scrub workers", minimum=1),
    Option("delayed_delete", "bool", False, "Delete marks pending_delete and leaves data to the scrubber"),
    Option("wakeup_time", "int", 300, "Seconds between scrubber rounds in daemon mode", minimum=0),
    Option("daemon", "bool", False, "Run the scrubber as a loop"),
    Option("restore", "str", None, "Image id to take back from pending_delete"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
}
