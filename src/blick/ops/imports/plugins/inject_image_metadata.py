"""Import plugin that gives images the properties of the option [inject_metadata_properties] inject.

Values are taken as they are written. Nothing is injected for callers with one of the roles in ignore_user_roles.
"""

import logging
from typing import Final

from blick.model.errors import Forbidden, Invalid
from blick.model.image_input import RESERVED_PREFIX, check_property_name, check_property_quota, refuse_untouchable
from blick.model.text import refuse_unstorable
from blick.ops.imports.plugins.plugin import PluginInput, PluginResult, Tell
from blick.ops.services import Services

_log = logging.getLogger(__name__)

name: Final = "inject_image_metadata"
changes_data: Final = False


async def run(services: Services, given: PluginInput, tell: Tell) -> PluginResult:  # noqa: ARG001 - the contract's
    """The properties. Raises LimitExceeded where the image would have too many with them."""
    imports = services.settings.imports
    if not imports.inject_ignored_roles.isdisjoint(given.caller.roles):
        return PluginResult()
    properties = {key: value for key, value in imports.inject.items() if _is_possible(services, key, value)}
    if properties.keys() - given.image.properties.keys():
        names = {*given.image.properties, *properties}
        own = sum(not key.startswith(RESERVED_PREFIX) for key in names)
        check_property_quota(own, services.settings.quotas.image_property_quota)
    return PluginResult(properties=properties)


def _is_possible(services: Services, key: str, value: str) -> bool:
    """What users may not set stays as it is, and what images have anyway, whatever the operator wrote."""
    try:
        check_property_name(key)
        refuse_unstorable(key, "The name of an attribute")
        refuse_unstorable(value, f"The attribute {key!r}")
        refuse_untouchable(key, services.image_schema)
        if services.image_schema.is_base(key):
            raise Forbidden(f"Attribute '{key}' is no custom property.")
    except (Invalid, Forbidden) as error:
        _log.warning("[inject_metadata_properties] inject: %s is left out: %s", key, error)
        return False
    return True
