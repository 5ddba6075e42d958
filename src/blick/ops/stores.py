"""The stores of a site, as users and services may know them (spec: images-api §16)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blick.conf.settings import StoreSettings
from blick.model.context import RequestContext
from blick.model.errors import NotFound, StoreError
from blick.ops.services import Services
from blick.ops.store_status import OPEN, READ_ONLY_TYPES, StoreStatus, statuses
from blick.stores.base import HasProperties

_log = logging.getLogger(__name__)

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

    One that is not open, or does not answer, has the properties `status` and `reason` instead; one that can only be
    read at present has them besides. Raises Forbidden, NotFound.
    """
    await services.policy.require("stores_info_detail", context, {})
    configured = _configured(services)
    found = await statuses(services, PATIENCE_S)
    properties = await asyncio.gather(*[_properties(services, status) for status in found])
    return [
        replace(_info(services, store), properties=own, is_read_only=status.is_read_only)
        for store, status, own in zip(configured, found, properties, strict=True)
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
        is_read_only=store.type in READ_ONLY_TYPES,
        properties={},
    )


async def _properties(services: Services, status: StoreStatus) -> Mapping[str, Any]:
    if status.status != OPEN:
        return {"status": "unavailable", "reason": status.reason}
    store = services.stores.by_id(status.id)
    try:
        async with asyncio.timeout(PATIENCE_S):
            own = await store.properties() if isinstance(store, HasProperties) else {}
    except (StoreError, TimeoutError) as error:
        return {"status": "unavailable", "reason": str(error) or "it stopped answering"}
    return own if status.reason is None else {**own, "status": "read-only", "reason": status.reason}


async def look_after_forever(services: Services) -> None:
    """Notice stores that went away or came back; until cancelled. Whatever goes wrong is logged and tried again."""
    while True:
        try:
            await services.stores.look_after(PATIENCE_S)
        except Exception:
            _log.exception("looking after the stores failed and will be tried again")
        await asyncio.sleep(_LOOK_EVERY_S)
