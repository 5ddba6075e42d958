"""Staged data and scratch files that nobody needs any more are removed; images that wait too long are queued again.

A file says by its name whose it is: an image's id, or one and a dot and more; so do the hidden files of broken writers.
All other files are somebody else's. Whoever puts a file there has noted so before (a lease, a job, an upload), so what
was found before the database was asked, and is needed by nobody then, is a left-over: unless it is another file by now.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from blick.db import staging as db_staging
from blick.db.staging import Expiry, Needs
from blick.model.errors import StoreError
from blick.ops import staging
from blick.ops.cleanup import forever
from blick.ops.services import Services
from blick.stores.file.partial import key_of_partial
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60.0
_OWNED = re.compile(r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:\..*)?", re.DOTALL)
_PAGE = 200
# A node that staged data and did not come back for so many times as long as it may wait is taken to be gone for good.
_GONE_AFTER = 2


async def run_forever(services: Services) -> None:
    """Sweep and expire, now and every minute; until cancelled."""
    is_first = True

    async def one_round() -> None:
        nonlocal is_first
        await sweep(services, at_start=is_first)
        is_first = False
        await expire(services)

    await forever(one_round, "removing staged data that nobody needs", SWEEP_EVERY_S)


async def sweep(services: Services, *, at_start: bool = False) -> int:
    """Remove what images need no longer; gives how many files and objects there were.

    Files of ids that the database never heard of go only `at_start`, as operators are used to: they may be those of
    another service that was given the same folder. Raises ServiceUnavailable; stores and folders that cannot be used
    are logged.
    """
    count = 0
    for folder in services.staging.folders:
        found = await hop(None, _files, folder)
        for page in _pages(found):
            needs = await services.database.read(db_staging.needs, [file.image_id for file in page])
            unneeded = [file for file in page if _is_left_over(file.image_id, needs, at_start=at_start)]
            count += await hop(None, _remove_all, folder, unneeded)
    return count + await _sweep_rows(services)


async def _sweep_rows(services: Services) -> int:
    last, count = "", 0
    while page := await services.database.read(db_staging.after, last, _PAGE):
        needs = await services.database.read(db_staging.needs, [row.image_id for row in page])
        for row in page:
            if row.image_id.lower() in needs.needed:
                continue
            try:
                await staging.remove_row(services, row)
                count += 1
                _log.info("removed a left-over of image %s: %s in store %s", row.image_id, row.key, row.store)
            except StoreError as error:
                _log.warning("staged data of image %s cannot be removed yet: %s", row.image_id, error)
        last = page[-1].key
    return count


async def expire(services: Services) -> int:
    """Have images wait for data again that were staged too long ago and never imported; gives how many there were.

    Raises ServiceUnavailable.
    """
    ttl = timedelta(hours=services.settings.imports.staging_ttl_h)
    now = services.now()
    expiry = Expiry(services.staging.node, now - ttl, now - _GONE_AFTER * ttl)
    last, count = "", 0
    while page := await services.database.read(db_staging.waiting_since, expiry.before, last, _PAGE):
        for image_id in page:
            if await services.database.write(db_staging.expire, image_id, expiry, services.now()):
                count += 1
                _log.warning("image %s is queued again: what was staged of it was never imported", image_id)
                await staging.discard(services, image_id)
        last = page[-1]
    return count


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the image `image_id`, as it was when it was found."""

    name: str
    image_id: str
    status: os.stat_result

    def is_still(self, other: os.stat_result) -> bool:
        return os.path.samestat(self.status, other) and self.status.st_mtime_ns == other.st_mtime_ns


def _is_left_over(image_id: str, needs: Needs, *, at_start: bool) -> bool:
    same = image_id.lower()
    return same not in needs.needed and (at_start or same in needs.known)


def _pages(files: Sequence[_File]) -> Iterator[Sequence[_File]]:
    return (files[start : start + _PAGE] for start in range(0, len(files), _PAGE))


def _files(folder: Path) -> list[_File]:
    """The files of images in `folder`; blocks. None if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [file for entry in entries if (file := _file(entry)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("staged data in %s cannot be looked through: %s", folder, error.strerror)
        return []


def _file(entry: os.DirEntry[str]) -> _File | None:
    owned = _OWNED.fullmatch(key_of_partial(entry.name) or entry.name)
    if owned is None or not entry.is_file(follow_symlinks=False):
        return None
    try:
        return _File(entry.name, owned[1], entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def _remove_all(folder: Path, files: Sequence[_File]) -> int:
    return sum(_remove(folder / file.name, file) for file in files)


def _remove(path: Path, file: _File) -> bool:
    try:
        if not file.is_still(path.lstat()):
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        _log.warning("a left-over of image %s cannot be removed yet: %s", file.image_id, error.strerror)
        return False
    _log.info("removed a left-over of image %s: %s", file.image_id, file.name)
    return True
