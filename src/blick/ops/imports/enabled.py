"""Which import methods a site has."""

from blick.conf.settings import Settings
from blick.model.import_job import COPY_IMAGE, METHODS


def enabled_methods(settings: Settings) -> tuple[str, ...]:
    """The methods on offer, in the operator's order, each once; copying takes several stores to copy between."""
    wanted = dict.fromkeys(settings.api.enabled_import_methods)
    return tuple(name for name in wanted if name in METHODS and _is_possible(settings, name))


def _is_possible(settings: Settings, name: str) -> bool:
    return name != COPY_IMAGE or settings.stores.multi_store
