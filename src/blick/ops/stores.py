"""The stores of a site, as users and services may know them (spec: images-api §16)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blick.conf.settings import StoreSettings
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.ops.services import Services
from blick.stores.base import HasProperties
from blick.stores.registry import trouble_of

_log = logging.getLogger(__name__)

_READ_ONLY_TYPES = frozenset({"http"})
# How long a store may take to tell of itself; the others are not kept waiting by one that hangs.
PATIENCE_S = 5.0
_LOOK_EVERY_S = 10.0


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
    """Every store that is open, in configured order, without the reserved ones; without properties.

    Raises NotFound where there is one store without a name of its own.
    """
    opened = services.stores.ids
    return [_info(services, store) for store in _configured(services) if store.id in opened]


async def list_stores_in_detail(services: Services, context: RequestContext) -> list[StoreInfo]:
    """Every configured store, with what its driver tells of it, for those who may know where things lie.

    One that is not open, or does not answer, has the properties `status` and `reason` instead. Raises Forbidden,
    NotFound.
    """
    await services.policy.require("stores_info_detail", context, {})
    configured = _configured(services)
    properties = await asyncio.gather(*[_properties(services, store.id) for store in configured])
    return [
        replace(_info(services, store), properties=found) for store, found in zip(configured, properties, strict=True)
    ]


def _configured(services: Services) -> Sequence[StoreSettings]:
    if not services.settings.stores.multi_store:
        raise NotFound("Multi backend is not supported at this site.")
    return services.settings.stores.stores


def _info(services: Services, store: StoreSettings) -> StoreInfo:
    return StoreInfo(
        id=store.id,
        type=store.type,
        description=store.description,
        weight=store.weight,
        is_default=store.id == services.settings.stores.default_store,
        is_read_only=store.type in _READ_ONLY_TYPES,
        properties={},
    )


async def _properties(services: Services, store_id: str) -> Mapping[str, Any]:
    reason = services.stores.left_out.get(store_id)
    if reason is not None:
        return {"status": "unavailable", "reason": reason}
    store = services.stores.by_id(store_id)
    reason = await trouble_of(store, PATIENCE_S)
    if reason is not None:
        return {"status": "unavailable", "reason": reason}
    return await store.properties() if isinstance(store, HasProperties) else {}


async def look_after_forever(services: Services) -> None:
    """Notice stores that went away or came back; until cancelled. Whatever goes wrong is logged and tried again."""
    while True:
        try:
            await services.stores.look_after(PATIENCE_S)
        except Exception:
            _log.exception("looking after the stores failed and will be tried again")
        await asyncio.sleep(_LOOK_EVERY_S)
