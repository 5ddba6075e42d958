"""The conversion of the old task type `import`, to [taskflow_executor] conversion_format: image_conversion does it."""

from dataclasses import dataclass, replace
from typing import ClassVar

from blick.ops.imports.plugins import image_conversion
from blick.ops.imports.plugins.plugin import PluginInput, PluginResult, Tell
from blick.ops.services import Services


@dataclass(frozen=True, slots=True)
class LegacyConversion:
    """A plugin that no operator has to choose."""

    target_format: str
    name: ClassVar[str] = image_conversion.name
    changes_data: ClassVar[bool] = True

    async def run(self, services: Services, given: PluginInput, tell: Tell) -> PluginResult:
        """Convert. Raises as image_conversion does."""
        imports = replace(services.settings.imports, convert_to=self.target_format)
        return await image_conversion.run(
            replace(services, settings=replace(services.settings, imports=imports)), given, tell
        )
