"""The local image cache."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DEFAULT = (
    Option(
        "image_cache_sqlite_db",
        "str",
        "cache.db",
        "Database file name of the sqlite cache driver",
        deprecated="Caracal (2024.1)",
    ),
    Option(
        "image_cache_driver",
        "str",
        "centralized_db",
        "Where cache bookkeeping lives; Blick keeps it in the database whatever is chosen",
        choices=("centralized_db", "sqlite", "xattr"),
    ),
    Option("image_cache_max_size", "int", 10737418240, "Prune target, bytes", minimum=0),
    Option(
        "image_cache_stall_time",
        "int",
        86400,
        "Age after which an incomplete cache file is dropped, seconds",
        minimum=0,
    ),
    Option("image_cache_dir", "str", None, "Cache root; unset = cache off"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "DEFAULT": _DEFAULT,
}
