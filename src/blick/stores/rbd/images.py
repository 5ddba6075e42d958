"""What is done to RBD images as a whole. All of it blocks, and raises the library's own errors.

An image is whole when it has the snapshot `snap`; one without is what a writer is at, or left. Names can be given
anew, so whoever acts on the image that he made compares ids. RBD's trash takes an image away from its name at once,
also while somebody writes it, who then finds another id, or none, under the name.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from blick.stores.rbd.cluster import Pool
from blick.stores.rbd.errors import number_of
from blick.stores.rbd.opened import Opened, opened
from blick.stores.rbd.uri import SNAPSHOT

_NOT_ABOUT_THE_IMAGE = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.ETIMEDOUT, errno.ESHUTDOWN, errno.ENOTCONN}
)
_PARALLEL = "rbd_concurrent_management_ops"
_PARALLEL_COPIES = 3
"""Objects under way at once while a clone is made independent: Ceph's own 10 took 160 MiB, and were a fifth faster."""
_USER_SNAPSHOT = 0
"""The namespace of snapshots that somebody made; others are RBD's own, those in its trash among them."""


def open_to_read(pool: Pool, name: str | None = None, **how: Any) -> Opened:
    """An open image, which the caller gives to the pool's `lingering`. `how`: image_id, snapshot."""
    return opened(pool.bindings.rbd.Image(pool.io, name, read_only=True, **how))


def open_to_write(pool: Pool, name: str | None = None, **how: Any) -> Opened:
    """An open image, which the caller lets settle, and closes. `how`: image_id."""
    return opened(pool.bindings.rbd.Image(pool.io, name, **how))


@contextmanager
def reading(pool: Pool, name: str | None = None, **how: Any) -> Iterator[Any]:
    """The library's image for the body, open to be read. `how`: see open_to_read."""
    taken = open_to_read(pool, name, **how)
    try:
        yield taken.image
    finally:
        pool.lingering.close(taken)


@contextmanager
def writing(pool: Pool, name: str | None = None, **how: Any) -> Iterator[Any]:
    """The library's image for the body, open to be changed; closed right behind it. `how`: see open_to_write."""
    taken = open_to_write(pool, name, **how)
    try:
        yield taken.image
    finally:
        taken.settle()
        taken.image.close()


def id_of(pool: Pool, name: str) -> str | None:
    """RBD's id of the image that has this name now."""
    try:
        with reading(pool, name) as image:
            return str(image.id())
    except pool.bindings.rbd.ImageNotFound:
        return None


def is_whole(pool: Pool, name: str | None = None, **how: Any) -> bool:
    """Does this image exist, with its snapshot?"""
    try:
        with reading(pool, name, **how) as image:
            return SNAPSHOT in snapshots(image)
    except pool.bindings.rbd.ImageNotFound:
        return False


def snapshots(image: Any) -> list[str]:
    """The names of the snapshots that somebody made of it."""
    return [snapshot["name"] for snapshot in image.list_snaps() if snapshot["namespace"] == _USER_SNAPSHOT]


def create(pool: Pool, name: str, size_bytes: int, order: int) -> None:
    """A new, empty image. The library's ImageExists if the name is taken."""
    pool.bindings.rbd.RBD().create(pool.io, name, size_bytes, order=order, old_format=False, features=pool.features)


def publish(image: Any) -> None:
    """Make the image whole."""
    image.create_snap(SNAPSHOT)
    image.protect_snap(SNAPSHOT)


def withdraw(image: Any, busy: type[Exception]) -> None:
    """Take the snapshot away. Raises `busy` (ImageBusy) if something was cloned from it; nothing has changed then.

    Clones of the newer kind do not mind: RBD keeps what they need in its trash.
    """
    if SNAPSHOT not in snapshots(image):
        return
    if image.is_protected_snap(SNAPSHOT):
        image.unprotect_snap(SNAPSHOT)
    try:
        image.remove_snap(SNAPSHOT)
    except busy:
        image.protect_snap(SNAPSHOT)
        raise


def remove(pool: Pool, name: str) -> bool:
    """Remove the image, whatever state it is in; one that others still need goes into the trash. False: no image.

    Raises the library's ImageBusy if it is cloned or open elsewhere; it is as it was then.
    """
    rbd = pool.bindings.rbd
    was_whole = is_whole(pool, name)
    if was_whole:
        with suppress(rbd.ImageNotFound), writing(pool, name) as image:
            withdraw(image, rbd.ImageBusy)
    try:
        # Also where no image was found: a removal that broke off may have left the name alone.
        rbd.RBD().remove(pool.io, name)
    except rbd.ImageNotFound:
        return was_whole
    except rbd.ImageHasSnapshots:
        return _to_trash(pool, name)
    except rbd.ImageBusy:
        if was_whole:
            with writing(pool, name) as image:
                publish(image)
        raise
    return True


def displace(pool: Pool, name: str) -> bool:
    """Take an image that is not whole away from its name, so that its writer, wherever he is, cannot finish it.

    False: it is whole, or was made so meanwhile, and has its name still. Nothing there is fine. Waits up to half a
    minute for the lock of a writer who was killed.
    """
    rbd = pool.bindings.rbd
    if is_whole(pool, name):
        return False
    found = id_of(pool, name)
    try:
        remove_unfinished(pool, name)
    except rbd.ImageHasSnapshots:
        return False
    except rbd.ImageBusy:
        _to_trash(pool, name)
        if found is not None and is_whole(pool, image_id=found):
            rbd.RBD().trash_restore(pool.io, found, name)
            return False
    return True


def remove_unfinished(pool: Pool, name: str) -> None:
    """Remove an image that nobody has open and that has no snapshot, if there is one.

    The library's ImageBusy, ImageHasSnapshots for others.
    """
    with suppress(pool.bindings.rbd.ImageNotFound):
        pool.bindings.rbd.RBD().remove(pool.io, name)


def discard(pool: Pool, name: str) -> set[str]:
    """Remove the image, whole or not, and what lies in the trash and had its name.

    Gives the ids of images in the trash that are open somewhere. Waits as `displace` does.
    """
    try:
        remove(pool, name)
    except pool.bindings.rbd.ImageBusy:
        _to_trash(pool, name)
    return purge(pool, name)


def purge(pool: Pool, name: str) -> set[str]:
    """Remove what lies in the trash and had this name. Gives the ids of images that are open somewhere."""
    return {found for found in _trashed(pool, name) if not _purge_one(pool, found)}


def _to_trash(pool: Pool, name: str) -> bool:
    """False: no image. Raises the library's ImageBusy if the trash refuses it."""
    rbd = pool.bindings.rbd
    try:
        rbd.RBD().trash_move(pool.io, name, 0)
    except rbd.ImageNotFound:
        return False
    except rbd.OSError as error:
        if number_of(error) in _NOT_ABOUT_THE_IMAGE:
            raise
        raise rbd.ImageBusy("the trash refuses it", errno=errno.EBUSY) from error
    return True


def _trashed(pool: Pool, name: str) -> list[str]:
    return [entry["id"] for entry in pool.bindings.rbd.RBD().trash_list(pool.io) if entry["name"] == name]


def _purge_one(pool: Pool, image_id: str) -> bool:
    """False: it is open somewhere. What has clones, or must be kept for some time yet, is not ours to hurry."""
    rbd = pool.bindings.rbd
    with suppress(rbd.ImageNotFound, rbd.ImageHasSnapshots, rbd.PermissionError):
        try:
            with writing(pool, image_id=image_id) as image:
                withdraw(image, rbd.ImageBusy)
            rbd.RBD().trash_remove(pool.io, image_id)
        except rbd.ImageBusy:
            return False
    return True


def remove_own(pool: Pool, name: str, image_id: str) -> None:
    """Remove the image of this id, whether it has its name still or was displaced."""
    if id_of(pool, name) == image_id:
        remove(pool, name)
    else:
        _purge_one(pool, image_id)


def require_unused(pool: Pool, name: str) -> None:
    """Raises the library's ImageBusy where `remove` would; nothing there is unused."""
    rbd = pool.bindings.rbd
    with suppress(rbd.ImageNotFound), reading(pool, name) as image:
        if _is_open_elsewhere(image, rbd) or _has_clones(image, rbd):
            raise rbd.ImageBusy("in use", errno=errno.EBUSY)


def _is_open_elsewhere(image: Any, rbd: Any) -> bool:
    # Opened for reading only, it is not watched by ourselves. Mirroring watches too, and does not stand in the way.
    if not list(image.watchers_list()):
        return False
    return bool(image.mirror_image_get_info()["state"] == rbd.RBD_MIRROR_IMAGE_DISABLED)


def _has_clones(image: Any, rbd: Any) -> bool:
    """Clones of the older kind; those of the newer kind, which the image's features tell of, let it go."""
    if SNAPSHOT not in snapshots(image) or image.op_features() & rbd.RBD_OPERATION_FEATURE_CLONE_PARENT:
        return False
    image.set_snap(SNAPSHOT)
    try:
        return any(True for _ in image.list_children2())
    except rbd.PermissionError:
        return True  # our user may count clones in every pool, but look at those in his own only


def clone(source: Pool, name: str, target: Pool, new_name: str, order: int) -> None:
    """A new image of which all bytes are still the source's, whose snapshot has to be protected.

    The library's ImageExists, ImageNotFound; PermissionError, InvalidArgument and others where it cannot be cloned.
    """
    rbd = target.bindings.rbd
    features = target.features | rbd.RBD_FEATURE_LAYERING
    rbd.RBD().clone(source.io, name, SNAPSHOT, target.io, new_name, features=features, order=order)


def make_independent(image: Any, goes_on: Callable[[], bool]) -> None:
    """Give the clone bytes of its own, so that its source may be deleted.

    `goes_on` is asked every now and then; False ends it with the library's OperationCanceled.
    """
    image.config_set(_PARALLEL, str(_PARALLEL_COPIES))
    image.flatten(on_progress=lambda _done, _all: 0 if goes_on() else -errno.ECANCELED)
    image.config_remove(_PARALLEL)
