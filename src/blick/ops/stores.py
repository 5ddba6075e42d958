"""The stores of a site, as users and services may know them (spec: images-api §16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.ops.services import Services
from blick.stores.base import HasProperties

_READ_ONLY_TYPES = frozenset({"http"})


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """One store. `properties` are its driver's own, by the names that services look for."""

    id: str
    type: str
    description: str | None
    weight: int
    is_default: bool
    is_read_only: bool
    properties: Mapping[str, Any]


def list_stores(services: Services) -> list[StoreInfo]:
    """Every store that is open, in configured order, without the reserved ones.

    Raises NotFound where there is one store without a name of its own.
    """
    settings = services.settings.stores
    if not settings.multi_store:
        raise NotFound("Multi backend is not supported at this site.")
    found = []
    for store in settings.stores:
        if store.id not in services.stores.ids:
            continue
        opened = services.stores.by_id(store.id)
        found.append(
            StoreInfo(
                id=store.id,
                type=store.type,
                description=store.description,
                weight=store.weight,
                is_default=store.id == settings.default_store,
                is_read_only=store.type in _READ_ONLY_TYPES,
                properties=opened.properties if isinstance(opened, HasProperties) else {},
            )
        )
    return found


async def list_stores_in_detail(services: Services, context: RequestContext) -> list[StoreInfo]:
    """The same, for those who may know where things lie. Raises Forbidden, NotFound."""
    await services.policy.require("stores_info_detail", context, {})
    return list_stores(services)
