"""The image folders in the datastores of a vSphere: making, finding, moving and removing files, and their bytes."""

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from pyVmomi import vim

from blick.model.errors import StoreDenied, StoreFull, StoreUnavailable
from blick.stores.vmware.folder import Exchange, SessionEnded, tls_context
from blick.stores.vmware.options import Datastore, Place, VmwareOptions
from blick.stores.vmware.session import FileMissing, FileThere, NoAnswer, Session, Sessions, as_store_errors
from blick.stream.hop import hop, interruptible_hop

T = TypeVar("T")

_FIRST_PAUSE_S = 0.05
_LONGEST_RETRY_PAUSE_S = 5.0
_THREADS = 16  # each waits for the network


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as a listing shows it."""

    place: Place
    size_bytes: int | None
    modified_at_s: float | None


class Files:
    """All of it for one store. One event loop's; has threads of its own, until `aclose`.

    Everything raises StoreDenied, StoreUnavailable and StoreError besides what it says itself. Questions that the
    server does not answer are asked again as often as the operator wants; what changes something only if that does no
    harm.
    """

    def __init__(self, store: str, options: VmwareOptions) -> None:
        self._store = store
        self._options = options
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{store}")
        self._tls: Callable[[], ssl.SSLContext] = cache(lambda: tls_context(store, options))
        self._sessions = Sessions(store, options, self._tls)
        self._made: set[Datastore] = set()

    # Datastores

    async def probe(self) -> None:
        """Ask once. Raises StoreUnavailable if no datastore can be reached."""
        if not await self._call(self._free_bytes):
            raise StoreUnavailable(self._store, "no datastore can be reached by its hosts")

    async def free_bytes(self) -> dict[Datastore, int]:
        """Every configured datastore that can be reached now, with the room in it."""
        return await self._again(self._free_bytes)

    async def choose(self, size_bytes: int) -> Datastore:
        """Where a new object of that size goes: the heaviest datastore, among equals the emptiest. Raises StoreFull."""
        free = await self.free_bytes()
        fitting = [datastore for datastore, room_bytes in free.items() if room_bytes >= size_bytes]
        if not free:
            raise StoreUnavailable(self._store, "no datastore can be reached by its hosts")
        if not fitting:
            raise StoreFull(self._store)
        return max(fitting, key=lambda datastore: (self._options.weights[datastore], free[datastore]))

    async def make_folder(self, datastore: Datastore) -> None:
        """Have an image folder there."""
        if datastore in self._made:
            return
        path = f"[{datastore.name}] {self._options.folder}"

        def make(session: Session) -> None:
            session.files.MakeDirectory(path, session.datacenter(datastore.datacenter), True)

        with suppress(FileThere):
            await self._again(make)
        self._made.add(datastore)

    def forget_folder(self, datastore: Datastore) -> None:
        """It turned out not to be there any more."""
        self._made.discard(datastore)

    async def find(self, datastore: Datastore, pattern: str) -> list[FoundFile]:
        """The files of the image folder whose names match, with `*` for anything."""
        file_info = vim.host.DatastoreBrowser.FileInfo
        details = file_info.Details(fileType=False, fileSize=True, modification=True, fileOwner=False)
        wanted = vim.host.DatastoreBrowser.SearchSpec(details=details, matchPattern=[pattern])

        def search(session: Session) -> Any:
            path = f"[{datastore.name}] {self._options.folder}"
            return session.datastore(datastore).browser.SearchDatastore_Task(datastorePath=path, searchSpec=wanted)

        try:
            result = await self._task(await self._again(search))
        except FileMissing:
            return []  # nobody has made the folder yet
        return [
            FoundFile(
                self._options.place(datastore, file.path),
                file.fileSize,
                file.modification.timestamp() if file.modification else None,
            )
            for file in result.file or ()
            if not isinstance(file, vim.host.DatastoreBrowser.FolderInfo)
        ]

    # Files

    async def remove(self, place: Place) -> bool:
        """Remove a file; False: there was none. Raises DataInUse."""

        def delete(session: Session) -> Any:
            datacenter = session.datacenter(place.datastore.datacenter)
            return session.files.DeleteDatastoreFile_Task(place.path, datacenter)

        try:
            await self._task(await self._again(delete))
        except FileMissing:
            return False
        return True

    async def move(self, source: Place, target: Place) -> None:
        """Give a file another name. Raises FileMissing, FileThere; if StoreUnavailable, nobody knows whether it was."""

        def move(session: Session) -> Any:
            datacenter = session.datacenter(source.datastore.datacenter)
            return session.files.MoveDatastoreFile_Task(source.path, datacenter, target.path, datacenter, False)

        await self._task(await self._call(move))

    async def put_empty(self, place: Place) -> None:
        """Make an empty file. Raises StoreFull, DataExists."""
        exchange, _ = await self.begin(lambda exchange, cookie: exchange.put_empty(place, cookie))
        exchange.close()

    async def size_bytes(self, place: Place) -> int:
        """How large a file is. Raises DataNotFound."""
        exchange, size_bytes = await self.begin(lambda exchange, cookie: exchange.size_bytes(place, cookie))
        exchange.close()
        return size_bytes

    async def begin(self, begin: Callable[[Exchange, str], T]) -> tuple[Exchange, T]:
        """An exchange that `begin` has begun, in a second session if the first has ended, and what that gave.

        The caller closes it.
        """
        for is_last in (False, True):
            session = await self._again(lambda current: current)
            exchange = Exchange(self._store, self._options, await hop(self._threads, self._tls))
            try:
                arguments = exchange, session.cookie
                return exchange, await interruptible_hop(self._threads, exchange.interrupt, begin, *arguments)
            except SessionEnded:
                exchange.close()
                await hop(self._threads, self._sessions.renew, session)
                if is_last:
                    raise StoreDenied(self._store, "the vSphere does not let its own session at files") from None
            except BaseException:
                exchange.close()
                raise
        raise AssertionError("the second turn ends it")

    async def step(self, exchange: Exchange, call: Callable[..., T], *args: Any) -> T:
        """Go on with an exchange in a thread; cancelling ends it."""
        try:
            return await interruptible_hop(self._threads, exchange.interrupt, call, *args)
        except SessionEnded as error:
            # What was sent cannot be sent again: whoever has the data has to begin anew.
            raise StoreUnavailable(self._store, "the session ended when the upload had begun") from error

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """A blocking call, in a thread of ours."""
        return await hop(self._threads, call, *args)

    async def aclose(self) -> None:
        """Log out and end the threads."""
        await hop(self._threads, self._sessions.close)
        await hop(None, self._threads.shutdown)

    # Calls and tasks

    def _free_bytes(self, session: Session) -> dict[Datastore, int]:
        known = {session.datastore(wanted): wanted for wanted in self._options.weights}
        told = session.properties(list(known), vim.Datastore, ["summary"])
        summaries = [(known[store], properties["summary"]) for store, properties in told]
        return {wanted: int(summary.freeSpace) for wanted, summary in summaries if summary.accessible}

    async def _call(self, work: Callable[[Session], T]) -> T:
        return await hop(self._threads, self._sessions.call, work)

    async def _again(self, work: Callable[[Session], T]) -> T:
        """A call that may be made again where no answer came."""
        pause_s = _FIRST_PAUSE_S
        for _ in range(self._options.retries):
            try:
                return await self._call(work)
            except NoAnswer:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_RETRY_PAUSE_S)
        return await self._call(work)

    async def _task(self, task: Any) -> Any:
        """The result of a task of the server, as soon as it has ended."""
        pause_s = _FIRST_PAUSE_S
        # Not the whole of `info`: what it says about the task's subject is not what the library takes for one.
        names = ["info.state", "info.error", "info.result"]
        while True:
            [(_, told)] = await self._again(lambda session: session.properties([task], vim.Task, names))
            state = told.get("info.state")
            if state == vim.TaskInfo.State.success:
                return told.get("info.result")
            if state == vim.TaskInfo.State.error:
                with as_store_errors(self._store):
                    raise told["info.error"]
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._options.longest_pause_s)
