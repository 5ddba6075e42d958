"""Which import methods a site has."""

from blick.conf.settings import Settings
from blick.model.import_job import METHODS


def enabled_methods(settings: Settings) -> tuple[str, ...]:
    """The methods on offer, in the operator's order, each once; what is no method is left out."""
    return tuple(name for name in dict.fromkeys(settings.api.enabled_import_methods) if name in METHODS)
