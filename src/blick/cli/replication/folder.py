"""A folder of dumped images: `<id>` is the image's document as JSON, `<id>.img` its data, `<id>.img.part` the
beginning of data that is still to come. What has its final name is whole.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from blick.cli.replication.documents import Document, kept
from blick.cli.replication.service import is_image_id
from blick.model.errors import Invalid, StartRefused


class DumpFolder:
    """One such folder. What cannot be read or written there raises StartRefused: nothing else could be, either."""

    def __init__(self, path: Path) -> None:
        """The folder has to exist. Raises StartRefused."""
        if not path.is_dir():
            raise StartRefused(f"{path}: no such folder.")
        self.path = path

    def ids(self) -> list[str]:
        """The images of which there is a document, sorted."""
        try:
            return sorted(entry.name for entry in os.scandir(self.path) if is_image_id(entry.name))
        except OSError as error:
            _refuse(self.path, error)

    def document(self, image_id: str) -> Document | None:
        """An image's document, None if there is none. Raises Invalid for a file that holds no document of the image."""
        path = self.path / image_id
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _refuse(path, error)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise Invalid(f"{path} is not JSON: {error}.") from error
        if not isinstance(document, dict) or document.get("id", image_id) != image_id:
            raise Invalid(f"{path} is not the document of the image {image_id}.")
        return {**document, "id": image_id}

    def write_document(self, document: Document) -> None:
        """Keep a document, at once or not at all."""
        path = self.path / str(document["id"])
        text = json.dumps(kept(document), indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        part = path.with_name(path.name + ".new")
        try:
            with part.open("wb") as file:
                file.write(text)
                _make_durable(file)
            self._rename(part, path)
        except OSError as error:
            _refuse(path, error)

    def data_path(self, image_id: str) -> Path | None:
        """The file of an image's data, None if it is not there."""
        path = self.path / f"{image_id}.img"
        return path if path.is_file() else None

    @contextmanager
    def partial_data(self, image_id: str) -> Iterator["PartialData"]:
        """The beginning of an image's data, empty if there is none; kept until it is complete. One process's only.

        Raises StartRefused where another process has it.
        """
        path = self.path / f"{image_id}.img.part"
        try:
            with path.open("a+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StartRefused(f"{path} is being written by another process.") from None
                yield PartialData(self, path, file)
        except OSError as error:
            _refuse(path, error)

    def _rename(self, part: Path, path: Path) -> None:
        part.replace(path)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class PartialData:
    """Data that grows at its end."""

    def __init__(self, folder: DumpFolder, path: Path, file: IO[bytes]) -> None:
        self._folder = folder
        self._path = path
        self._file = file

    @property
    def size_bytes(self) -> int:
        """How much is there."""
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """What is there, in pieces of at most that size."""
        self._file.seek(0)
        while piece := self._file.read(size_bytes):
            yield piece

    def append(self, piece: bytes) -> None:
        """Add a piece."""
        self._file.write(piece)

    def clear(self) -> None:
        """Begin anew."""
        self._file.truncate(0)

    def complete(self) -> None:
        """Give the data its final name: it is whole, and safe."""
        _make_durable(self._file)
        self._folder._rename(self._path, self._path.with_suffix(""))

    def remove(self) -> None:
        """Take the file away."""
        self._path.unlink(missing_ok=True)


def file_pieces(path: Path, size_bytes: int) -> Iterator[bytes]:
    """A file in pieces of at most that size. Raises StartRefused where it cannot be read."""
    try:
        with path.open("rb") as file:
            while piece := file.read(size_bytes):
                yield piece
    except OSError as error:
        _refuse(path, error)


def _make_durable(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _refuse(path: Path, error: OSError) -> NoReturn:
    reason = os.strerror(error.errno) if error.errno else str(error)
    raise StartRefused(f"{path}: {reason}.") from error
