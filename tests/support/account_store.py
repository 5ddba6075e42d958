"""A store that keeps data in its users' accounts and decides itself who may read there: a real one, on files."""

from importlib.metadata import EntryPoint
from typing import Any

from blick.model.blob import Location, ReadAccess
from blick.model.context import RequestContext
from blick.model.errors import StoreUnavailable
from blick.stores.file.store import FileStore

ENTRY_POINT = EntryPoint("accounts", "tests.support.account_store:AccountStore", "blick.stores")


class AccountStore(FileStore):
    """`access` is who may read, by URI; `callers` the projects that it acted for. Refuses lists while `is_away`."""

    def __init__(self, name: str, options: Any) -> None:
        super().__init__(name, options)
        self.access: dict[str, ReadAccess] = {}
        self.callers: list[str | None] = []
        self.is_away = False

    def acting_for(self, caller: RequestContext) -> "AccountStore":
        self.callers.append(caller.project_id)
        return self

    async def set_access(self, location: Location, access: ReadAccess) -> None:
        if self.is_away:
            raise StoreUnavailable(self.name, "it is away")
        await self.size_bytes(location)
        self.access[location.uri] = access
