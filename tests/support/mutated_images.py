"""Real images of every format, and strategies that damage them: at random, and as somebody would who means harm."""

import functools
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from tests.support import images
from tests.support.images import MIB

SECRET = b"what nobody but its owner may read\n" * 64
"""Content of the file at `secret_path`, which hostile images name."""

Mutation = Callable[[bytearray], None]

_FOLDER = tempfile.TemporaryDirectory(prefix="blick-images-")


def secret_path() -> Path:
    """A file that no image may lead to."""
    path = Path(_FOLDER.name) / "secret"
    if not path.exists():
        path.write_bytes(SECRET)
    return path


@functools.cache
def seeds() -> dict[str, tuple[bytes, str]]:
    """Small real images by name, each with the disk format to declare; those that are unsafe as they are among them."""
    folder = Path(_FOLDER.name) / "made"
    folder.mkdir()
    made = [*images.good_images(folder, size_bytes=256 * 1024), images.gpt_disk(folder, size_bytes=2 * MIB)]
    unsafe_folder = Path(_FOLDER.name) / "unsafe"
    unsafe_folder.mkdir()
    made += [
        image
        for image in images.unsafe_images(unsafe_folder)
        if image.name != "qcow2 with a backing file, declared raw"
    ]
    found = {image.name: (image.path.read_bytes(), image.disk_format) for image in made}
    backed = Path(_FOLDER.name) / "backed"
    images.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret_path(), "-F", "raw", backed)
    return {**found, "qcow2 on the secret": (backed.read_bytes(), "qcow2")}


def _overwrite(at: int, value: bytes) -> Mutation:
    def mutate(data: bytearray) -> None:
        place = at % max(len(data), 1)
        data[place : place + len(value)] = value

    return mutate


def _flip(at: int, bit: int) -> Mutation:
    def mutate(data: bytearray) -> None:
        if data:
            data[at % len(data)] ^= 1 << bit

    return mutate


def _cut(at: int) -> Mutation:
    def mutate(data: bytearray) -> None:
        del data[at % (len(data) + 1) :]

    return mutate


def _grow(tail: bytes) -> Mutation:
    def mutate(data: bytearray) -> None:
        data += tail

    return mutate


def _line(number: int, text: bytes) -> Mutation:
    """Another line in the descriptor of a VMDK, whose length stays the same."""

    def mutate(data: bytearray) -> None:
        start = data.find(b"# Disk DescriptorFile")
        if start < 0:
            return
        end = min(start + 8192, len(data))
        lines = bytes(data[start:end]).rstrip(b"\0").split(b"\n")
        lines.insert(number % (len(lines) + 1), text)
        data[start:end] = b"\n".join(lines)[: end - start].ljust(end - start, b"\0")

    return mutate


def _hostile_lines() -> list[bytes]:
    name = str(secret_path()).encode()
    return [
        b'parentFileNameHint="%s"' % name, b"parentCID=12345678", b'RW 4 FLAT "%s" 0' % name, b'RW 4 SPARSE "secret"',
        b'createType="monolithicFlat"', b'CREATETYPE="monolithicFlat"', b'#createType="monolithicFlat"', b"\0",
    ]  # fmt: skip


_NUMBERS = [
    struct.pack(form, value % (1 << bits))
    for bits, forms in ((32, "<I >I"), (64, "<Q >Q"))
    for form in forms.split()
    for value in (0, 1, 2, 3, 4, 5, 512, 65536, 1 << 31, -1, -2, 1 << 62)
]
# Headers are where formats are decided; most of an image is not.
_PLACES = st.one_of(st.integers(0, 120), st.integers(0, 1100), st.integers(0, 3 * MIB))


def mutations() -> st.SearchStrategy[list[Mutation]]:
    """What may be done to an image, in this order."""
    one = st.one_of(
        st.builds(_flip, _PLACES, st.integers(0, 7)),
        st.builds(_overwrite, _PLACES, st.one_of(st.sampled_from(_NUMBERS), st.binary(min_size=1, max_size=16))),
        st.builds(_line, st.integers(0, 30), st.sampled_from(_hostile_lines())),
        st.builds(_cut, _PLACES),
        st.builds(_grow, st.binary(max_size=600)),
    )
    return st.lists(one, min_size=1, max_size=6)


def mutated(name: str, changes: list[Mutation]) -> bytes:
    """The image of that name after all of it."""
    data = bytearray(seeds()[name][0])
    for change in changes:
        change(data)
    return bytes(data)
