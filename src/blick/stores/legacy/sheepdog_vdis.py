"""Objects as virtual disk images (VDIs) of Sheepdog, which can be created, written and cloned, but not renamed.

An object `KEY` is the VDI of that name, as Glance made it. It grows as `KEY+TOKEN`, a new token for each attempt, so
that two writers never meet in one VDI. Publishing is a clone of a snapshot of that, which appears at once and whole, or
fails if there is a `KEY` already; what it was cloned from is removed then, and Sheepdog keeps the shared blocks.
Everything here blocks.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from blick.model.errors import DataInUse, DataNotFound, StoreUnavailable
from blick.stores.legacy.keys import is_key
from blick.stores.legacy.sheepdog_dog import Dog, Leash, meaning

# flag, name, snapshot id, size, used, shared, creation time, id, copies, perhaps a tag and more. Names that need to be
# quoted are none of ours.
_LINE = re.compile(r"([s=c]) (\S+) (\d+) (\d+) \d+ \d+ (\d+) [0-9a-f]+ ")
_TAG = "blick"


@dataclass(frozen=True, slots=True)
class Vdi:
    """One line of Sheepdog's list. `snapshot` is None for one that can be written."""

    name: str
    snapshot: str | None
    size_bytes: int
    created_at_s: int

    @property
    def key(self) -> str:
        """Of the object that it is, or is to become."""
        return self.name.partition("+")[0]

    @property
    def is_attempt(self) -> bool:
        """Whether it is what a writer is writing, or left."""
        return "+" in self.name


class Vdis:
    """The VDIs that `dog` reaches. All methods raise StoreUnavailable, StoreFull, StoreError."""

    def __init__(self, dog: Dog) -> None:
        self._dog = dog
        self._store = dog.store

    def ping(self, leash: Leash) -> None:
        """Ask for a sign of life."""
        self._dog.run(leash, "node", "list")

    def find(self, leash: Leash, key: str) -> Vdi:
        """The object `key`. Raises DataNotFound."""
        for vdi in self._listed(leash, key):
            if vdi.name == key and vdi.snapshot is None:
                return vdi
        raise DataNotFound(self._store)

    def all(self, leash: Leash) -> Generator[Vdi, None, None]:
        """Every VDI that is an object, or is to become one."""
        for vdi in self._listed(leash):
            if is_key(vdi.key) and (vdi.snapshot is None or vdi.is_attempt):
                yield vdi

    def begin(self, leash: Leash, key: str) -> str:
        """The name of a new, empty VDI to become the object `key`; what earlier writers of it left is removed."""
        self._remove_attempts(leash, key)
        name = f"{key}+{uuid4().hex}"
        self._dog.run(leash, "vdi", "create", name, "0")
        return name

    def write(self, leash: Leash, name: str, offset_bytes: int, data: bytes) -> None:
        """Append `data` to the VDI `name`, which is `offset_bytes` long. Raises StoreUnavailable if it is gone."""
        with self._not_gone():
            self._dog.run(leash, "vdi", "resize", name, str(offset_bytes + len(data)))
            self._dog.run(leash, "vdi", "write", name, str(offset_bytes), str(len(data)), data=data)

    def freeze(self, leash: Leash, name: str) -> None:
        """No byte of the VDI `name` changes any more. Raises StoreUnavailable if it is gone."""
        with self._not_gone():
            self._dog.run(leash, "vdi", "snapshot", "-s", _TAG, name)

    def publish(self, leash: Leash, name: str, key: str) -> None:
        """Make the frozen bytes of the VDI `name` the object `key`. Raises DataExists, and StoreUnavailable if gone."""
        with self._not_gone():
            self._dog.run(leash, "vdi", "clone", "-s", _TAG, name, key)

    def remove_attempt(self, leash: Leash, name: str) -> None:
        """Remove the VDI `name` and its snapshots, if there are any."""
        self._remove(leash, name, list(self._listed(leash, name)))

    def remove(self, leash: Leash, key: str) -> None:
        """Remove the object `key`. Raises DataNotFound, DataInUse."""
        self._remove(leash, key, [self.find(leash, key)])

    def discard(self, leash: Leash, key: str) -> None:
        """Remove everything that belongs to the object `key`, committed or not. Raises DataInUse."""
        # In this order: a writer that still lives can publish nothing after it.
        self._remove_attempts(leash, key)
        try:
            self.remove(leash, key)
        except DataNotFound:
            return

    @contextmanager
    def _not_gone(self) -> Iterator[None]:
        try:
            yield
        except DataNotFound:
            raise StoreUnavailable(self._store, "the partial object was cleaned away by somebody else") from None

    def _listed(self, leash: Leash, *name: str) -> Generator[Vdi, None, None]:
        for line in self._dog.lines(leash, "vdi", "list", "-r", *name):
            if (found := _LINE.match(line + " ")) is not None:
                flag, listed, snapshot, size, created = found.groups()
                yield Vdi(listed, snapshot if flag == "s" else None, int(size), int(created))

    def _remove_attempts(self, leash: Leash, key: str) -> None:
        attempts = [vdi for vdi in self._listed(leash) if vdi.is_attempt and vdi.key == key]
        for name in {vdi.name for vdi in attempts}:
            self._remove(leash, name, [vdi for vdi in attempts if vdi.name == name])

    def _remove(self, leash: Leash, name: str, vdis: Sequence[Vdi]) -> None:
        """Remove these VDIs and snapshots of the one name. Raises DataInUse, StoreUnavailable if one is still there."""
        complaints = [self._delete(leash, vdi) for vdi in vdis]
        # Some releases of dog say that it went well whatever happened.
        removed = {vdi.snapshot for vdi in vdis}
        if vdis and any(vdi.name == name and vdi.snapshot in removed for vdi in self._listed(leash, name)):
            in_use = any(meaning(complaint, StoreUnavailable) is DataInUse for complaint in complaints)
            raise (DataInUse if in_use else StoreUnavailable)(self._store)

    def _delete(self, leash: Leash, vdi: Vdi) -> str:
        """What dog complains of when it is to remove that one. One that is gone already is fine."""
        snapshot = () if vdi.snapshot is None else ("-s", vdi.snapshot)
        try:
            return self._dog.run(leash, "vdi", "delete", *snapshot, vdi.name)
        except DataNotFound:
            return ""
