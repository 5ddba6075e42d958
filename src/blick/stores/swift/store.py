"""Objects in Swift, in the service's own account or in those of the images' owners. Locations: see swift_uri."""

import copy
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from blick.model.blob import ByteRange, Location, ReadAccess, StoredObject
from blick.model.context import RequestContext
from blick.model.errors import DataNotFound, RangeInvalid, StoreUnavailable, WriterClosed
from blick.stores.base import Store, Writer
from blick.stores.swift.accounts import Accounts
from blick.stores.swift.auth import CallerLogin, Login
from blick.stores.swift.client import Client
from blick.stores.swift.http import Connections
from blick.stores.swift.objects import Found, delete_object, discard_object, found_in
from blick.stores.swift.options import read_options
from blick.stores.swift.reading import Reading
from blick.stores.swift.uri import Place
from blick.stores.swift.writing import Target, Writing, remove_container
from blick.stream.hop import hop, interruptible_hop, to_the_end

P = ParamSpec("P")
T = TypeVar("T")

# One hop costs about 0.1 ms; a piece of this size takes Swift several.
READ_BYTES = 4 << 20
_THREADS = 16  # each waits for Swift
_BATCH = 500  # images taken from a listing at once


class SwiftStore:
    """Also OwnsUri, HasProperties, CanProbe, CanList, ActsForCaller, HasAccessLists.

    Nothing is asked of Swift before somebody needs it. Raises StartRefused for options that make no sense, ImportError
    where the library for Keystone is missing. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._options = read_options(name, options)
        self._connections = Connections(self._options.ca_file, insecure=self._options.insecure)
        self._accounts = Accounts(name, self._options, self._connections)
        self._caller: CallerLogin | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")

    @property
    def name(self) -> str:
        """The store's id."""
        return self._name

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties."""
        return {
            "container": self._options.container,
            "large_object_size": self._options.large_object_bytes,
            "large_object_chunk_size": self._options.segment_bytes,
        }

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """See Store.writer. Data of another length than `size_bytes` may be refused, with StoreError."""
        target = Target(self._accounts.place_of(key), size_bytes, self._options)
        login = await hop(self._threads, self._accounts.begin_upload, self._caller, size_bytes)
        work = Writing(lambda: self._accounts.client(login), target)
        writer = _SwiftWriter(self._name, work, self._threads, self._accounts.location)
        try:
            await interruptible_hop(self._threads, work.interrupt, work.begin)
            yield writer
        finally:
            writer.usable = False
            await to_the_end(hop(self._threads, self._end, work, login, keep=writer.committed))

    async def read(self, location: Location, wanted: ByteRange | None = None) -> AsyncGenerator[memoryview, None]:
        """See Store.read."""
        client, place = await self._at(location)
        if wanted is not None and wanted.length_bytes == 0:
            if wanted.offset_bytes > await self._run(client, _size_of, client, place):
                raise RangeInvalid(self._name)
            return
        reading = Reading(client, place, wanted, self._options.read_retries)
        try:
            left = await self._run(client, reading.open)
            buffer = memoryview(bytearray(min(READ_BYTES, left)))
            while left:
                count = await self._run(client, reading.readinto, buffer[:left])
                left -= count
                yield buffer[:count]
        finally:
            reading.close()

    async def size_bytes(self, location: Location) -> int:
        """See Store.size_bytes."""
        client, place = await self._at(location)
        return await self._run(client, _size_of, client, place)

    async def delete(self, location: Location) -> None:
        """See Store.delete. Where each image has a container of its own, that goes too."""
        client, place = await self._at(location)
        await self._run(client, self._delete, client, place)

    async def discard(self, key: str) -> None:
        """See Store.discard. In accounts of users that takes a caller: StoreDenied."""
        client = self._accounts.client(self._accounts.writing(self._caller))
        await self._run(client, self._discard, client, self._accounts.place_of(key))

    async def objects(self) -> AsyncGenerator[StoredObject, None]:
        """See CanList. In accounts of users that takes a caller, and lists his: StoreDenied."""
        client = self._accounts.client(self._accounts.writing(self._caller))
        found = self._found(client)
        while batch := await self._run(client, _take, found):
            for entry in batch:
                yield entry

    async def probe(self) -> None:
        """See CanProbe. Where all accounts are those of users, there is nobody to ask as: nothing is raised."""
        login = self._accounts.anybody(self._caller)
        if login is not None:
            client = self._accounts.client(login)
            await self._run(client, self._probe, client)

    def owns(self, uri: str) -> bool:
        """See OwnsUri: what lies in an account that the options know, in any container."""
        return self._accounts.owns(uri)

    def acting_for(self, caller: RequestContext) -> Store:
        """See ActsForCaller."""
        if not self._options.multi_tenant:
            return self
        acting = copy.copy(self)
        acting._caller = self._accounts.as_caller(caller)
        return acting

    async def set_access(self, location: Location, access: ReadAccess) -> None:
        """See HasAccessLists. In the service's own account nobody else reads: nothing is done."""
        if self._options.multi_tenant:
            client, place = await self._at(location)
            await self._run(client, self._set_access, client, place, access)

    async def aclose(self) -> None:
        """Wait for running calls, end the threads and the connections."""
        await hop(None, self._threads.shutdown)
        self._connections.close()

    async def _run(self, client: Client, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await interruptible_hop(self._threads, client.interrupt, call, *args, **kwargs)

    async def _at(self, location: Location) -> tuple[Client, Place]:
        return await hop(self._threads, self._accounts.at, location, self._caller)

    def _end(self, work: Writing, login: Login, *, keep: bool) -> None:
        work.close(keep=keep)
        self._accounts.end_upload(login)

    def _delete(self, client: Client, place: Place) -> None:
        delete_object(client, place)
        if self._has_container_alone(place):
            remove_container(client, place.container)

    def _discard(self, client: Client, place: Place) -> None:
        discard_object(client, place)
        if self._has_container_alone(place):
            remove_container(client, place.container)

    def _has_container_alone(self, place: Place) -> bool:
        return self._options.multi_tenant and place == self._accounts.place_of(place.object)

    def _found(self, client: Client) -> Iterator[StoredObject]:
        for container in self._containers(client):
            for found in found_in(client, container):
                yield self._stored_object(client, found)

    def _stored_object(self, client: Client, found: Found) -> StoredObject:
        location = self._accounts.location(client, Place(found.container, found.key)) if found.is_whole else None
        return StoredObject(found.key, location, found.size_bytes, found.modified_at_s)

    def _containers(self, client: Client) -> Iterator[str]:
        options = self._options
        if not (options.multi_tenant or options.seed_digits):
            yield options.container
            return
        try:
            for entry in client.listed("", options.container):
                if entry["name"] == options.container or entry["name"].startswith(f"{options.container}_"):
                    yield entry["name"]
        except DataNotFound:  # an account that nobody used yet
            return

    def _probe(self, client: Client) -> None:
        options = self._options
        by_image = options.multi_tenant or options.seed_digits
        try:
            client.request("HEAD", "" if by_image else options.container)
        except DataNotFound as error:
            if not options.creates_containers and not by_image:
                raise StoreUnavailable(self._name, f"there is no container {options.container!r}") from error

    def _set_access(self, client: Client, place: Place, access: ReadAccess) -> None:
        client.request("POST", place.container, headers=self._options.container_access(access))


class _SwiftWriter:
    """Closed for good by anything that goes wrong: after a failed or cancelled write nobody knows what is there."""

    def __init__(
        self,
        store: str,
        work: Writing,
        threads: ThreadPoolExecutor,
        location_of: Callable[[Client, Place], Location],
    ) -> None:
        self.committed = False
        self.usable = True
        self._store = store
        self._work = work
        self._threads = threads
        self._location_of = location_of

    async def write(self, buffer: memoryview) -> None:
        self._take()
        await interruptible_hop(self._threads, self._work.interrupt, self._work.append, buffer)
        self.usable = True

    async def commit(self) -> Location:
        self._take()
        # Not interrupted: Swift would go on without us, and nobody could say when it is through.
        location = await hop(self._threads, self._publish)
        # Only now: if the await is cancelled, nobody learns of the object, and leaving the context removes it.
        self.committed = True
        return location

    def _publish(self) -> Location:
        location = self._location_of(self._work.client, self._work.place)
        self._work.publish()
        return location

    def _take(self) -> None:
        if not self.usable:
            raise WriterClosed(self._store)
        self.usable = False


def _size_of(client: Client, place: Place) -> int:
    length = client.head(place).get("content-length", "")
    if not length.isdigit():
        raise StoreUnavailable(client.name, "Swift does not tell how long the object is")
    return int(length)


def _take(found: Iterator[StoredObject]) -> list[StoredObject]:
    return list(itertools.islice(found, _BATCH))
