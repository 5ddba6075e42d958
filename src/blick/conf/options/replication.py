"""Copying images between services (glance-replicator)."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option("sourcetoken", "str", None, "glance-replicator: token for the service that is read from", secret=True),
    Option("targettoken", "str", None, "glance-replicator: token for the service that is written to", secret=True),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
}
