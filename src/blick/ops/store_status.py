"""How the configured stores are, for operators: the reserved ones are left out, one without a name is told."""

import asyncio
from dataclasses import dataclass

from blick.conf.settings import StoreSettings
from blick.model.errors import StoreError, StoreReadOnly
from blick.ops.services import Services
from blick.stores.base import CanProbe

OPEN, LEFT_OUT, UNAVAILABLE = "open", "left out", "unavailable"

# Stores that are somebody else's, and never written.
READ_ONLY_TYPES = frozenset({"http"})


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """One store. `status`: open, left out (it cannot be used as configured) or unavailable; then with a reason.

    `is_read_only`: by its nature, or because it can only be read at present.
    """

    id: str
    type: str
    is_default: bool
    weight: int
    is_read_only: bool
    status: str
    reason: str | None = None


async def statuses(services: Services, patience_s: float) -> list[StoreStatus]:
    """Every store in configured order, asked for a sign of life; who gives none for `patience_s` is unavailable."""
    stores = services.settings.stores.stores
    return list(await asyncio.gather(*[_status(services, store, patience_s) for store in stores]))


async def _status(services: Services, store: StoreSettings, patience_s: float) -> StoreStatus:
    status, reason, only_reads = OPEN, None, store.type in READ_ONLY_TYPES
    try:
        if (reason := services.stores.left_out.get(store.id)) is not None:
            status = LEFT_OUT
        else:
            await _probe(services, store, patience_s)
    except StoreReadOnly as error:
        reason, only_reads = str(error), True
    except StoreError as error:
        status, reason = UNAVAILABLE, str(error)
    except TimeoutError:
        status, reason = UNAVAILABLE, f"no answer within {patience_s:g} seconds"
    is_default = store.id == services.settings.stores.default_store
    return StoreStatus(store.id, store.type, is_default, store.weight, only_reads, status, reason)


async def _probe(services: Services, store: StoreSettings, patience_s: float) -> None:
    opened = services.stores.by_id(store.id)
    if isinstance(opened, CanProbe):
        async with asyncio.timeout(patience_s):
            await opened.probe()
