"""One new object from its first byte to its publication, and what has to be cleaned up behind it.

Swift replaces objects silently, and what it lists may be a little old. So each writer says in a small object beside the
image, the fence, that it is at work; who comes later, or discards, takes the fence over or away. A writer publishes
only while the fence is its own, before and after, and takes back what it published behind somebody's back.
"""

import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blick.model.blob import ReadAccess
from blick.model.errors import DataExists, DataNotFound, StoreError, StoreUnavailable
from blick.stores.swift.bodies import Body, Segments, Whole
from blick.stores.swift.client import Client
from blick.stores.swift.names import fence_place, is_part_of
from blick.stores.swift.options import SwiftOptions
from blick.stores.swift.uri import Place

_log = logging.getLogger(__name__)

_WRITER = "X-Object-Meta-Blick-Writer"
_SETTLE_TRIES = 5
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a new object goes. `size_bytes` None: nobody knows yet."""

    place: Place
    size_bytes: int | None
    options: SwiftOptions


class Writing:
    """Call begin, append …, publish in this order, and close always, whatever happened. `interrupt` at any time.

    `make_client` gives a new client, for cleaning up after the first was interrupted.
    """

    def __init__(self, make_client: Callable[[], Client], target: Target) -> None:
        self._make_client = make_client
        self.client = make_client()
        self.place = target.place
        self._target = target
        self._writer = secrets.token_hex(8)
        self._body: Body = self._new_body()
        self._begun = self._exists = self._published = False

    def interrupt(self) -> None:
        """Make what waits for Swift end soon."""
        self.client.interrupt()

    def begin(self) -> None:
        """Take the fence, and remove what earlier writers left."""
        client, place = self.client, self.place
        self._begun = True
        self._raise_fence()
        # In this order: a writer whose fence we took cannot publish any more, or takes it back.
        self._exists = is_there(client, place)
        if not self._exists:
            for name in parts_of(client, place):
                if name != fence_place(place).object:
                    client.remove(Place(place.container, name))

    def append(self, view: memoryview) -> None:
        """More bytes. Nobody gets those for an object that there is already."""
        if not self._exists:
            self._body.append(view)

    def publish(self) -> None:
        """Make the object visible. Raises DataExists, StoreUnavailable (not the writer any more)."""
        if self._exists:
            raise DataExists(self.client.name)
        self._require_fence()
        self._published = True
        try:
            self._body.publish()
        except DataExists:
            # Its answer was lost on the way, and the request made again.
            if not self._is_ours():
                raise
        self._require_whole()
        self._require_fence()

    def close(self, *, keep: bool) -> None:
        """Lower the fence; unless `keep`, remove every trace. Never harms another writer's object.

        Raises nothing: what could not be removed is logged, and left to the next writer or to discard.
        """
        self._body.abandon()
        if not self._begun:
            return
        self.client = self._make_client()
        try:
            if not keep:
                self._remove()
            if self._holds_fence():
                self.client.remove(fence_place(self.place))
            if not keep and self._target.options.multi_tenant and not self._exists:
                remove_container(self.client, self.place.container)
        except StoreError as error:
            _log.warning("store %s: cannot clean up behind object %s: %s", error.store, self.place.object, error)

    def _new_body(self) -> Body:
        target, options = self._target, self._target.options
        headers = {_WRITER: self._writer}
        if target.size_bytes is not None and target.size_bytes < options.large_object_bytes:
            return Whole(self.client, target.place, headers, target.size_bytes)
        return Segments(self.client, target.place, self._writer, headers, options.segment_bytes, options.buffer_folder)

    def _raise_fence(self) -> None:
        place = fence_place(self.place)
        headers = {_WRITER: self._writer}
        try:
            self.client.request("PUT", place.container, place.object, headers=headers)
        except DataNotFound as error:
            if not self._target.options.creates_containers:
                said = f"there is no container {place.container!r}, and swift_store_create_container_on_put is off"
                raise StoreUnavailable(self.client.name, said) from error
            self.client.make_container(place.container, self._target.options.container_access(ReadAccess()))
            self.client.request("PUT", place.container, place.object, headers=headers)

    def _holds_fence(self) -> bool:
        return self._writer_at(fence_place(self.place)) == self._writer

    def _is_ours(self) -> bool:
        return self._writer_at(self.place) == self._writer

    def _writer_at(self, place: Place) -> str | None:
        try:
            return self.client.head(place).get(_WRITER.lower(), "")
        except DataNotFound:
            return None

    def _require_fence(self) -> None:
        if not self._holds_fence():
            raise self._superseded()

    def _require_whole(self) -> None:
        """What is there is ours and as long as it should be. A manifest that goes by a list may need a moment."""
        for tries_left in reversed(range(_SETTLE_TRIES)):
            if not self._is_ours():
                raise self._superseded()
            if self.client.head(self.place).get("content-length") == str(self._body.size_bytes):
                return
            if tries_left:
                self.client.wait(_SETTLE_S)
        raise StoreUnavailable(self.client.name, "what Swift has is not as long as what was written")

    def _superseded(self) -> StoreUnavailable:
        return StoreUnavailable(self.client.name, "the object was discarded, or begun anew, by somebody else")

    def _remove(self) -> None:
        if self._published:
            there = self._writer_at(self.place)
            # Swift may still be at it: what is removed before it appears does not appear.
            if there == self._writer or (there is None and self._holds_fence()):
                self.client.remove(self.place)
        for place in self._body.leftovers():
            self.client.remove(place)


def is_there(client: Client, place: Place) -> bool:
    """Whether there is such an object."""
    try:
        client.head(place)
    except DataNotFound:
        return False
    return True


def parts_of(client: Client, place: Place) -> Iterator[str]:
    """The names of segments and the like that belong to the image at `place`, as far as the container lists them."""
    try:
        for entry in client.listed(place.container, place.object):
            if is_part_of(place.object, entry["name"]):
                yield entry["name"]
    except DataNotFound:
        return


def remove_container(client: Client, container: str) -> None:
    """Delete it if it is empty. One that stays, because it is not or because it is not ours to remove, does no harm."""
    client.request("DELETE", container, accepted=frozenset({204, 404, 409, 403}))
