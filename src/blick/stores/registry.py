"""The configured stores: opened at start, or as soon as they can be, and found by id or by location.

Drivers are found by entry point (group `blick.stores`, name = type) and imported only if a store needs them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from blick.conf.settings import StoreSettings, StoresSettings
from blick.model.errors import DataNotFound, Invalid, StartRefused, StoreError, StoreUnavailable
from blick.model.image import ImageLocation
from blick.stores.base import CanProbe, OwnsUri, Store
from blick.stores.s3.uri import without_credentials
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

_GROUP = "blick.stores"


class Stores:
    """All usable stores, in configured order. Belongs to one event loop.

    `are_named`: locations tell the id of their store, because the operator gave the stores ids.
    `left_out` are stores that are configured but could not be opened, with the reason: data there is out of reach, not
    lost. `opener` opens one by its id, blocking; raises StartRefused.
    """

    def __init__(
        self,
        default: Store,
        stores: Iterable[Store],
        weights: Mapping[str, int] = MappingProxyType({}),
        left_out: Mapping[str, str] = MappingProxyType({}),
        *,
        are_named: bool = False,
        opener: Callable[[str], Store] | None = None,
    ) -> None:
        self._stores = {store.name: store for store in stores}
        self._default = default
        self._weights = dict(weights)
        self._left_out = dict(left_out)
        self._are_named = are_named
        self._opener = opener
        self._trouble: dict[str, str] = {}

    @property
    def default(self) -> Store:
        """The store that takes data for which none is named."""
        return self._default

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all stores, in configured order."""
        order = {store_id: position for position, store_id in enumerate(self._weights)}
        return tuple(sorted(self._stores, key=lambda store_id: order.get(store_id, len(order))))

    @property
    def left_out(self) -> Mapping[str, str]:
        """The ids of configured stores that are not open, with the reason."""
        return self._left_out

    @property
    def trouble(self) -> Mapping[str, str]:
        """The ids of stores that are not open, or gave no sign of life when last asked, with the reason."""
        return {**self._trouble, **self._left_out}

    async def look_after(self, patience_s: float) -> None:
        """Try again to open what could not be opened, and ask what is open for a sign of life; never two at once."""
        for store_id in tuple(self._left_out):
            await self._reopen(store_id)
        await asyncio.gather(*[self._ask(store, patience_s) for store in tuple(self._stores.values())])

    async def _reopen(self, store_id: str) -> None:
        if self._opener is None:
            return
        try:
            store = await hop(None, self._opener, store_id)
        except StartRefused as error:
            if self._left_out[store_id] != str(error):
                _log.warning("store %s is still left out: %s", store_id, error)
            self._left_out[store_id] = str(error)
        else:
            self._stores[store_id] = store
            del self._left_out[store_id]
            _log.warning("store %s is open now", store_id)

    async def _ask(self, store: Store, patience_s: float) -> None:
        reason = await trouble_of(store, patience_s)
        before = self._trouble.pop(store.name, None)
        if reason is not None:
            self._trouble[store.name] = reason
        if reason != before:
            _log.warning("store %s: %s", store.name, reason or "it answers again")

    def by_id(self, store_id: str) -> Store:
        """The store of that id. Raises Invalid if there is none, StoreUnavailable if it could not be opened."""
        self.require_known(store_id)
        if store_id in self._left_out:
            raise StoreUnavailable(store_id, "this store could not be opened")
        return self._stores[store_id]

    def is_known(self, store_id: str) -> bool:
        """Is there a store of that id, open or not?"""
        return store_id in self._stores or store_id in self._left_out

    def require_known(self, store_id: str) -> None:
        """Raises Invalid if there is no store of that id, open or not."""
        if not self.is_known(store_id):
            raise Invalid(f"There is no store {store_id!r} here.")

    def for_location(self, uri: str, metadata: Mapping[str, Any]) -> Store:
        """The store that keeps the bytes of a recorded location: the one it names, else the one whose URI it is.

        Raises StoreUnavailable if it names one that could not be opened, DataNotFound if nobody knows the URI.
        """
        named = str(metadata.get("store", ""))
        if named in self._stores:
            return self._stores[named]
        if named in self._left_out:
            raise StoreUnavailable(named, "this store could not be opened")
        for store in self._stores.values():
            if isinstance(store, OwnsUri) and store.owns(uri):
                return store
        raise DataNotFound(named or uri.partition(":")[0], "no configured store keeps this location")

    def owner_of(self, uri: str, named: object = None) -> Store | None:
        """The store that `uri` is a place in; the store of the id `named` if it is one of them. None if nobody's."""
        owners = [store for store in self._stores.values() if isinstance(store, OwnsUri) and store.owns(uri)]
        return next((store for store in owners if store.name == named), owners[0] if owners else None)

    def ordered(self, locations: Iterable[ImageLocation]) -> list[ImageLocation]:
        """`locations` in the order in which to read them: heaviest store first, then as they came.

        Where stores are named, a location that names none, or one that there is not, gets the name of the store whose
        URI it is: rows from before there were several stores, or from before one was renamed. Secrets that the oldest
        URIs have in them are left out.
        """
        shown = map(_without_secrets, locations)
        found = map(self._named, shown) if self._are_named else shown
        return sorted(found, key=self._weight, reverse=True)

    def _named(self, location: ImageLocation) -> ImageLocation:
        known = str(location.metadata.get("store", ""))
        if known in self._stores or known in self._left_out:
            return location
        owner = self.owner_of(location.uri)
        return location if owner is None else replace(location, metadata={**location.metadata, "store": owner.name})

    async def aclose(self) -> None:
        """Close every store, also if closing one of them fails."""
        async with AsyncExitStack() as stack:
            for store in self._stores.values():
                stack.push_async_callback(store.aclose)

    def _weight(self, location: ImageLocation) -> int:
        return self._weights.get(str(location.metadata.get("store", "")), 0)


async def trouble_of(store: Store, patience_s: float) -> str | None:
    """What keeps the store from serving now, in words; None if nothing does, or it cannot tell."""
    if not isinstance(store, CanProbe):
        return None
    try:
        async with asyncio.timeout(patience_s):
            await store.probe()
    except StoreError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {patience_s:g} seconds"
    return None


def _without_secrets(location: ImageLocation) -> ImageLocation:
    uri = without_credentials(location.uri)
    return location if uri == location.uri else replace(location, uri=uri)


def open_store(settings: StoreSettings) -> Store:
    """Open one store, apart from those that users know; blocks. The caller closes it. Raises StartRefused."""
    return _open(settings, _drivers())


def open_stores(settings: StoresSettings) -> Stores:
    """Open every configured store; blocks.

    Raises StartRefused if the default store cannot be opened. Another one is left out with a warning, so that a
    service whose second store is broken still serves what is in the first; `Stores.look_after` tries it again.
    """
    drivers = _drivers()
    configured = {store.id: store for store in settings.stores}
    if settings.default_store not in configured:
        raise StartRefused(f"The default store {settings.default_store!r} is not among the configured stores.")
    opened: dict[str, Store] = {}
    left_out: dict[str, str] = {}
    for store in settings.stores:
        try:
            opened[store.id] = _open(store, drivers)
        except StartRefused as error:
            if store.id == settings.default_store:
                raise
            _log.warning("store %s is left out: %s", store.id, error)
            left_out[store.id] = str(error)
    return Stores(
        opened[settings.default_store],
        opened.values(),
        {store.id: store.weight for store in settings.stores},
        left_out,
        are_named=settings.multi_store,
        opener=lambda store_id: _open(configured[store_id], drivers),
    )


def _drivers() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=_GROUP)}


def _open(settings: StoreSettings, drivers: Mapping[str, EntryPoint]) -> Store:
    driver = drivers.get(settings.type)
    if driver is None:
        known = ", ".join(sorted(drivers)) or "none"
        raise StartRefused(
            f"Store {settings.id}: there is no driver for the type {settings.type!r} (there is: {known})."
        )
    try:
        # A driver loads its library with its module, or when a store is made.
        store: Store = driver.load()(settings.id, settings.options)
    except ImportError as error:
        raise StartRefused(_lacks(settings, driver, error)) from error
    return store


def _lacks(settings: StoreSettings, driver: EntryPoint, error: ImportError) -> str:
    extra = ",".join(driver.extras) or settings.type
    return (
        f"Store {settings.id}: the driver for {settings.type!r} lacks a library ({error}). "
        f"Install it with: pip install 'blick[{extra}]'"
    )
