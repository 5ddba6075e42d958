"""What one check of stores is about and what it has come to so far: shared by its parts."""

import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from blick.db.store_check import InStore
from blick.db.store_ledger import Ledger
from blick.model.blob import Location
from blick.model.errors import ServiceUnavailable
from blick.model.image import ImageLocation
from blick.ops.services import Services
from blick.ops.store_status import StoreStatus
from blick.stores.base import OwnsUri, Store
from blick.stream.hop import hop

P = ParamSpec("P")
T = TypeVar("T")

# Ids in one statement, rows of one page: few round trips, little memory.
PAGE = 500
# Questions to stores at once. They are short, and most of their time is the way there and back.
QUESTIONS = 16
# Copies read to the end at once: hashing one keeps a processor busy, and takes 8 MiB of memory.
READINGS = 2
# Things without end that are named; beyond, they are counted. A store may be full of foreign objects, and one that goes
# away makes a million unreadable copies.
MOST_NAMED = 100
# After so many copies in a row for which a store has no answer it is not asked any more.
PATIENCE = 25


class Watcher(Protocol):
    """Is told how far a check has come."""

    def listed(self, store_id: str, objects: int) -> None:
        """So many more objects of that store have been listed."""
        ...

    def compared(self, locations: int) -> None:
        """So many more recorded locations have been compared."""
        ...

    def read(self, size_bytes: int) -> None:
        """So many more bytes of data have been read."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to check. No `store_ids`: all stores. `verify`: read everything, and compare hashes.

    What lies in a store for less than `grace_s` is nobody's orphan yet.
    """

    store_ids: tuple[str, ...] = ()
    verify: bool = False
    grace_s: float = 86_400.0


@dataclass(slots=True)
class Tally:
    """What a check has come to in one store, beside its findings. `trouble`: why it was not checked to the end."""

    status: StoreStatus
    trouble: str | None = None
    is_listed: bool = False
    objects: int = 0
    locations: int = 0  # of images with data
    unhashed: int = 0  # of these, those that could not be verified because no hash is recorded
    foreign: int = 0  # objects whose name is no image's id
    unreadable: int = 0  # copies about which the store gave no answer
    silent: int = 0  # … in a row
    young: int = 0  # objects that nobody knows, but within the grace time
    busy: int = 0  # objects and copies that somebody is at work on
    waiting: int = 0  # objects whose removal is noted

    @property
    def id(self) -> str:
        """The store's."""
        return self.status.id


@dataclass(slots=True)
class Check:
    """One check on its way. `homeless`: locations of images with data that no configured store keeps.

    `newest`: no location behind the one of this id was compared. `began_at_s`: seconds since 1970.
    """

    services: Services
    ledger: Ledger
    wanted: Wanted
    watcher: Watcher
    tallies: Mapping[str, Tally]
    began_at_s: float
    threads: ThreadPoolExecutor
    homeless: int = 0
    newest: int = 0

    async def note(self, call: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One call of the ledger. Raises ServiceUnavailable where its file cannot be written."""
        try:
            return await hop(self.threads, lambda: call(self.ledger, *args, **kwargs))
        except sqlite3.Error as error:
            raise ServiceUnavailable(f"The check's temporary file cannot be used: {error}.") from error

    def store(self, store_id: str) -> Store:
        """An open store."""
        return self.services.stores.by_id(store_id)

    def in_store(self, store_id: str) -> InStore:
        """Which locations count as the store's: those that name it, and those whose URI is a place in it.

        Two stores may share a place, and a location may name neither: for all of them, then.
        """
        store = self.store(store_id)

        def is_there(uri: str, metadata: Mapping[str, object]) -> bool:
            return metadata.get("store") == store_id or (isinstance(store, OwnsUri) and store.owns(uri))

        return is_there


def location_in(store: Store, place: ImageLocation) -> Location:
    """A recorded location, as its store wants it."""
    return Location(store.name, place.uri, place.metadata)
