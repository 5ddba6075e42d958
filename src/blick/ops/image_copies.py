"""An image's bytes go out: from the first copy that is whole, and from the next one where that fails on the way.

Copies are tried in the order of the caller's preference and of the stores' weights (spec: images-api §10, stores §1).
"""

import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from blick.model.blob import ByteRange, Location
from blick.model.context import RequestContext
from blick.model.errors import DataNotFound, Forbidden, Invalid, RangeInvalid, StoreError
from blick.model.image import DEACTIVATED, UNFINISHED, Image, ImageLocation
from blick.model.location import WEB_SCHEMES, scheme_of
from blick.ops import access
from blick.ops.services import Services
from blick.stores.base import ActsForCaller, CanSignUrls, HasLocalFile, OwnsUri, Store, TellsUse

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copy:
    """One place that is said to have all of an image's bytes."""

    store: Store
    location: Location

    @property
    def is_ours(self) -> bool:
        """Did Blick write these bytes? What lies on others' servers may have become something else."""
        return scheme_of(self.location.uri) not in WEB_SCHEMES


@dataclass(frozen=True, slots=True)
class ImageData:
    """Where the bytes of an image come from. Either `file`, an open descriptor that the receiver closes with
    `close`, or pieces through `pieces`. `others` are copies that nobody has looked at yet."""

    image: Image
    size_bytes: int
    copy: Copy
    file: int | None
    others: tuple[Copy, ...] = ()

    async def pieces(self, wanted: ByteRange) -> AsyncGenerator[memoryview, None]:
        """The wanted bytes, in pieces as `Store.read` gives them; where a copy fails, the next one goes on.

        In the middle only one that is provably the same: the record has the hash that both were written with, and
        neither lies on others' servers. Raises the first error if no copy can go on.
        """
        offset = wanted.offset_bytes
        first: StoreError | None = None
        copies = deque((self.copy, *self.others))
        while copies:
            copy = copies.popleft()
            left = ByteRange(offset, wanted.end_bytes - offset)
            try:
                if first is not None:
                    await self._require_same_size(copy)
                async with aclosing(copy.store.read(copy.location, left)) as pieces:
                    async for piece in pieces:
                        yield piece
                        offset += len(piece)
                if offset < wanted.end_bytes:
                    raise RangeInvalid(copy.store.name, "the stored data ended early")
            except StoreError as error:
                _log.error("image %s cannot be read on from store %s: %s", self.image.id, copy.store.name, error)
                first = first or error
                copies = self.may_go_on(copy, copies) if offset > wanted.offset_bytes else copies
            else:
                return
        assert first is not None
        raise first

    def may_go_on(self, broken: Copy, copies: Iterable[Copy]) -> deque[Copy]:
        """Those of `copies` whose bytes fit behind what has come from `broken`."""
        proven = self.image.os_hash_value is not None and broken.is_ours
        return deque(copy for copy in copies if proven and copy.is_ours)

    def without_file(self, sent_bytes: int) -> "ImageData | None":
        """The data without the file, which failed after so many bytes. None: no other copy can go on."""
        others = tuple(self.may_go_on(self.copy, self.others) if sent_bytes else self.others)
        if not others:
            return None
        return ImageData(self.image, self.size_bytes, others[0], None, others[1:])

    async def signed_url(self) -> str | None:
        """Where the store itself hands out the bytes for a while; None: they go through us. Raises StoreError."""
        store = self.copy.store
        if isinstance(store, CanSignUrls) and store.signed_url_ttl_s > 0:
            return await store.signed_url(self.copy.location, store.signed_url_ttl_s)
        return None

    def close(self) -> None:
        """Give the descriptor back. Once."""
        if self.file is not None:
            os.close(self.file)

    async def _require_same_size(self, copy: Copy) -> None:
        size_bytes = await copy.store.size_bytes(copy.location)
        if size_bytes != self.size_bytes:
            raise _wrong_size(copy, size_bytes, self.size_bytes)


async def open_data(
    services: Services, context: RequestContext, image_id: str, prefer: Sequence[str] | None = None
) -> ImageData | None:
    """The image's data, from the first store that has it whole; None if the image has no data yet.

    `prefer`: ids of stores to try first, None if the caller named none. Raises NotFound, Forbidden, Invalid (an
    unknown store), DataNotFound where the data of an active image is missing in every store, or the last store's
    error.
    """
    image = await access.load(services, context, image_id)
    if image.status == DEACTIVATED and not context.is_admin:
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    await services.policy.require_on_image("download_image", context, image)
    if prefer is not None:
        await _require_choice(services, context, image, prefer)
    # A location that was refused may still stand on a queued image, or one that is being verified: no data yet.
    if image.status in UNFINISHED or not image.locations:
        return None
    return await _open_first(image, _found(services, context, image, prefer or ()))


async def _open_first(image: Image, found: "deque[Copy | StoreError]") -> ImageData:
    last: StoreError | None = None
    while found:
        copy = found.popleft()
        try:
            if isinstance(copy, StoreError):
                raise copy
            return await _open(image, copy, tuple(other for other in found if isinstance(other, Copy)))
        except StoreError as error:
            _log.error("image %s cannot be read from store %s: %s", image.id, error.store, error)
            last = error
    if last is None or isinstance(last, DataNotFound):
        raise DataNotFound(
            last.store if last else "none", f"image {image.id} exists, but its data is missing in this store"
        )
    raise last


async def _require_choice(services: Services, context: RequestContext, image: Image, prefer: Sequence[str]) -> None:
    if not services.settings.stores.multi_store:
        raise Invalid("There is only one store here: none can be preferred.")
    await services.policy.require_on_image("download_from_store", context, image)
    for store_id in prefer:
        services.stores.require_known(store_id)


def _found(
    services: Services, context: RequestContext, image: Image, prefer: Sequence[str]
) -> "deque[Copy | StoreError]":
    """The copies in the order in which to try them; errors in place of those whose store is out of reach."""
    found: deque[Copy | StoreError] = deque()
    for place in _in_order(services, image, prefer):
        try:
            found.append(copy_at(services, context, place))
        except StoreError as error:
            found.append(error)
    return found


def copy_at(services: Services, context: RequestContext | None, place: ImageLocation) -> Copy:
    """A recorded location as the store that has it, acting for the caller where it has to.

    Raises StoreUnavailable if the store could not be opened, DataNotFound if none knows the location.
    """
    store = services.stores.for_location(place.uri, place.metadata)
    if context is not None and isinstance(store, ActsForCaller):
        store = store.acting_for(context)
    return Copy(store, Location(store.name, place.uri, place.metadata))


def is_in(store: Store, image: Image) -> bool:
    """Is one of the image's locations in this store, under whichever of the store's names?"""
    return any(
        place.metadata.get("store") == store.name or (isinstance(store, OwnsUri) and store.owns(place.uri))
        for place in image.locations
    )


async def require_unused(services: Services, context: RequestContext, places: Iterable[ImageLocation]) -> None:
    """Raises DataInUse if the bytes at one of the places cannot be removed now, StoreUnavailable.

    A store that is not there, or not configured any more, is not asked: the bytes are removed when it is back.
    """
    for place in places:
        try:
            copy = copy_at(services, context, place)
        except StoreError as error:
            _log.info("cannot ask whether data is in use: %s", error)
            continue
        if isinstance(copy.store, TellsUse):
            await copy.store.require_unused(copy.location)


def _in_order(services: Services, image: Image, prefer: Sequence[str]) -> list[ImageLocation]:
    """Preferred stores in their order, then the rest by weight."""
    rank = {store_id: position for position, store_id in enumerate(dict.fromkeys(prefer))}
    found = services.stores.ordered(image.locations)
    return sorted(found, key=lambda place: rank.get(str(place.metadata.get("store", "")), len(rank)))


async def _open(image: Image, copy: Copy, others: tuple[Copy, ...]) -> ImageData:
    if isinstance(copy.store, HasLocalFile):
        file = await copy.store.open_file(copy.location)
        data = ImageData(image, os.fstat(file).st_size, copy, file, others)
    else:
        data = ImageData(image, await copy.store.size_bytes(copy.location), copy, None, others)
    if image.size is not None and data.size_bytes != image.size:
        data.close()
        raise _wrong_size(copy, data.size_bytes, image.size)
    return data


def _wrong_size(copy: Copy, stored_bytes: int, recorded_bytes: int) -> StoreError:
    return StoreError(copy.store.name, f"{stored_bytes} bytes are stored, {recorded_bytes} are recorded")
