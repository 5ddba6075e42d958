"""Limits per image and per project, and [oslo_limit]: how to ask Keystone for its."""

import re
from collections.abc import Mapping
from typing import Any

from blick.conf.options.identity import AUTH_PLUGIN
from blick.conf.options.option import Option
from blick.conf.reading import Reading
from blick.conf.settings import QuotaSettings

_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_AUTH_TYPE = Option("auth_type", "str", None, "Kind of credentials", old_names=("auth_plugin",))


def quota_settings(reading: Reading) -> QuotaSettings:
    """Every limit there is."""
    use_keystone_limits = reading.get("DEFAULT", "use_keystone_limits")
    oslo_limit = _oslo_limit(reading)
    return QuotaSettings(
        image_member_quota=reading.get("DEFAULT", "image_member_quota"),
        image_property_quota=reading.get("DEFAULT", "image_property_quota"),
        image_tag_quota=reading.get("DEFAULT", "image_tag_quota"),
        image_location_quota=reading.get("DEFAULT", "image_location_quota"),
        image_size_cap_bytes=reading.get("DEFAULT", "image_size_cap"),
        user_storage_quota_bytes=_storage_quota(reading),
        use_keystone_limits=use_keystone_limits,
        oslo_limit=oslo_limit if use_keystone_limits else {},
    )


def _storage_quota(reading: Reading) -> int:
    text: str = reading.get("DEFAULT", "user_storage_quota")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        reading.wrong(
            "DEFAULT", "user_storage_quota", "needs a number with a unit of B, KB, MB, GB or TB, such as 5GB."
        )
        return 0
    number, unit = match[1], _UNITS[(match[2] or "").upper()]
    return int(float(number) * unit) if "." in number else int(number) * unit


def _oslo_limit(reading: Reading) -> Mapping[str, Any]:
    """Every option of the group that has a value, with the credentials of the group that its auth_section names."""
    options = [option for option in reading.options_of("oslo_limit") if option.keep != "no"]
    values = {option.name: reading.get("oslo_limit", option.name) for option in options}
    section = values.pop("auth_section")
    if section and section != "oslo_limit":
        credentials = (*AUTH_PLUGIN, _AUTH_TYPE)
        reading.add({section: credentials})
        shared = {option.name: reading.get(section, option.name) for option in credentials}
        values |= {name: value for name, value in shared.items() if value is not None}
    return {name: value for name, value in values.items() if value is not None}
