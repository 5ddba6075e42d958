"""Where data waits for its import: a folder of this node, or a store that all nodes reach (spec: import-and-tasks §7).

Both are stores like any other, apart from the ones that users know. Staged data of an image lies under the image's id
in the folder, as operators know it (`STAGING_DIR/IMAGE_ID`); in a store that has images too, under a name of its own.
"""

import contextlib
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blick.conf.settings import ImportSettings, StoreSettings
from blick.model.blob import Location
from blick.model.errors import Invalid, StartRefused, StoreUnavailable
from blick.stores.base import Store
from blick.stores.parts import PartsStore
from blick.stores.registry import Stores, open_store
from blick.stores.spool import Spool

_log = logging.getLogger(__name__)

FOLDER: Final = "os_glance_staging_store"
SCRATCH: Final = "os_glance_tasks_store"
PARTS: Final = "os_glance_staging_parts"
"""What lies in several places and is read as one; the places are in its location's metadata."""
# Names of staged data beside images are made of the images' ids: never an image's, always the same.
_NAMES = uuid.UUID("2f6a7c1e-6d0b-4b0e-9a53-5a0d6b3c7f10")


@dataclass(frozen=True, slots=True)
class StagingSettings:
    """`store_id` None: staged data lies in `folder`. `scratch` is the folder where this node converts data.

    `node` is the name of this node among those that do not share their folders; empty if they do.
    """

    folder: Path
    scratch: Path
    store_id: str | None
    node: str


def staging_settings(imports: ImportSettings) -> StagingSettings:
    """What the options say. Without a folder for scratch, that of staged data serves."""
    scratch = imports.work_dir if imports.staging_store is not None and imports.work_dir else imports.staging_dir
    return StagingSettings(imports.staging_dir, scratch, imports.staging_store, imports.node_url)


class Staging:
    """Staged data. A folder that cannot be used is only warned of at start, and tried again by whoever needs it."""

    def __init__(self, settings: StagingSettings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._opened: dict[str, Store] = {}
        self._spool: Spool | None = None
        if not self.is_shared:
            self._warn_if_unusable(FOLDER)

    @property
    def is_shared(self) -> bool:
        """Can every node reach what is staged here, by its configuration?"""
        return self._settings.store_id is not None

    @property
    def node(self) -> str:
        """The node that a job about staged data has to run on; empty: any."""
        return "" if self.is_shared else self._settings.node

    @property
    def store(self) -> Store:
        """Where staged data lies. Raises StoreUnavailable."""
        if self._settings.store_id is not None:
            return self._stores.by_id(self._settings.store_id)
        return self._folder(FOLDER)

    @property
    def scratch(self) -> Store:
        """A folder of this node, as a file store: where data is converted. Raises StoreUnavailable."""
        return self._folder(FOLDER if self._settings.scratch == self._settings.folder else SCRATCH)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where files of staged data, and of work on it, may lie on this node; in any case each once."""
        return tuple({self._settings.folder: None, self._settings.scratch: None})

    @property
    def scratch_dir(self) -> Path:
        """The folder itself, which exists once `scratch` was asked for."""
        return self._settings.scratch

    def make_folders(self) -> None:
        """Make the folders anew if they have gone since they were opened; blocks. They may lie where systems tidy up.

        Raises nothing: whoever uses a folder that cannot be made is told why not.
        """
        for path in {self._settings.scratch} if self.is_shared else {self._settings.folder, self._settings.scratch}:
            with contextlib.suppress(OSError):
                path.mkdir(parents=True, exist_ok=True)

    def key(self, name: str) -> str:
        """Under which name data lies in `store` that is called `name`: an image's id, or one and a dot and more."""
        return str(uuid.uuid5(_NAMES, name)) if self.is_shared else name

    def folder_location(self, name: str) -> Location:
        """Where data of that name lies in the folder, if it does. Only where `is_shared` is not."""
        return Location(FOLDER, f"file://{self._settings.folder}/{name}")

    def scratch_location(self, name: str) -> Location:
        """Where a file of that name lies in the scratch folder, if it does."""
        return Location(self.scratch.name, f"file://{self._settings.scratch}/{name}")

    @property
    def spool(self) -> Spool:
        """Files of uploads under way, in the folder of staged data. Only where `is_shared` is not."""
        if self._spool is None:
            self._spool = Spool(FOLDER, self._settings.folder)
        return self._spool

    def store_of(self, location: Location) -> Store | None:
        """The store that has it, if it is a folder, or lies in parts; None: it is among those that users know.

        Raises StoreUnavailable.
        """
        if location.store == PARTS:
            return PartsStore(PARTS, self._store_of_part)
        return self._folder(location.store) if location.store in (FOLDER, SCRATCH) else None

    def _store_of_part(self, location: Location) -> Store:
        try:
            return self.store_of(location) or self._stores.by_id(location.store)
        except Invalid as error:
            raise StoreUnavailable(location.store, "this store is not configured any more") from error

    async def aclose(self) -> None:
        """Close the folders; the stores that users know are not ours to close."""
        if self._spool is not None:
            self._spool.close()
        for store in self._opened.values():
            await store.aclose()

    def _folder(self, store_id: str) -> Store:
        if store_id not in self._opened:
            path = self._settings.folder if store_id == FOLDER else self._settings.scratch
            try:
                options = {"filesystem_store_datadir": str(path)}
                self._opened[store_id] = open_store(StoreSettings(store_id, "file", options))
            except StartRefused as error:
                raise StoreUnavailable(store_id, str(error)) from error
        return self._opened[store_id]

    def _warn_if_unusable(self, store_id: str) -> None:
        try:
            self._folder(store_id)
        except StoreUnavailable as error:
            _log.warning("data cannot be staged: %s", error)
