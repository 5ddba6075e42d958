"""A stand-in for a Sheepdog cluster, as a process of its own: `python sheep.py PORT MIB`, with room for so many MiB.

Debian has no Sheepdog. What this does is what Sheepdog's sources say of the commands that Blick uses: the exit codes,
the texts, the list's format, that a VDI cannot shrink, and that `vdi delete` tells of success whatever happened. The
protocol between it and tests/support/dog.py is our own. Standard library only; all data is in memory.
"""

import json
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field

OK, FAILURE, USAGE = 0, 1, 64
MIB = 1 << 20


class Refused(Exception):
    """What dog says on its standard error, and its exit code."""

    def __init__(self, text: str, status: int = FAILURE) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Vdi:
    """One VDI or snapshot."""

    name: str
    data: bytearray
    number: int
    is_clone: bool = False
    is_locked: bool = False
    snapshot: int = 0
    tag: str = ""
    created: int = field(default_factory=lambda: int(time.time()))


class Cluster:
    """All VDIs. A clone shares nothing with its parent here, but that cannot be seen from outside."""

    def __init__(self, room_bytes: int) -> None:
        self._room_bytes = room_bytes
        self._vdis: list[Vdi] = []
        self._numbers = 0

    def answer(self, words: list[str], data: bytes) -> tuple[int, str, bytes]:
        """Exit code, standard error, standard output."""
        verb, *rest = words[1:]
        tag = rest[rest.index("-s") + 1] if "-s" in rest else ""
        names = [word for word in rest if not word.startswith("-") and word != tag]
        try:
            return OK, "", self._do(f"{words[0]} {verb}", names, tag, data)
        except Refused as refused:
            return refused.status, f"{refused}\n", b""

    def _do(self, command: str, names: list[str], tag: str, data: bytes) -> bytes:
        match command, names:
            case "node list", []:
                return b"  Id   Host:Port         V-Nodes       Zone\n"
            case "vdi list", _:
                return "".join(self._line(vdi) for vdi in self._vdis if names in ([], [vdi.name])).encode()
            case "vdi create", [name, size]:
                self._add(name, bytearray(int(size)))
            case "vdi resize", [name, size]:
                self._resize(self._find(name), int(size))
            case "vdi write", [name, offset, _]:
                self._write(self._find(name), int(offset), data)
            case "vdi read", [name, offset, length]:
                return self._read(self._find(name), int(offset), int(length))
            case "vdi snapshot", [name]:
                self._snapshot(self._find(name), tag)
            case "vdi clone", [source, name]:
                self._add(name, bytearray(self._find(source, tag).data), is_clone=True)
            case "vdi delete", [name]:
                self._delete(name, tag)
            case "vdi lock", [name]:  # for tests: as if a virtual machine used it
                self._find(name).is_locked ^= True
            case _:
                raise Refused(f"Invalid command '{command}'", USAGE)
        return b""

    def _line(self, vdi: Vdi) -> str:
        flag = "s" if vdi.snapshot else "c" if vdi.is_clone else "="
        name = vdi.name.replace(" ", "\\ ")
        numbers = f"{vdi.snapshot} {len(vdi.data)} {len(vdi.data)} 0 {vdi.created} {vdi.number:x}"
        return f"{flag} {name} {numbers} 3 {vdi.tag} 22\n"

    def _find(self, name: str, tag: str = "") -> Vdi:
        for vdi in self._vdis:
            if vdi.name == name and (tag in (vdi.tag, str(vdi.snapshot)) if tag else vdi.snapshot == 0):
                return vdi
        reason = (
            "Failed to find requested tag" if tag and any(vdi.name == name for vdi in self._vdis) else "No VDI found"
        )
        raise Refused(f"Failed to open VDI {name} (snapshot id: 0 snapshot tag: {tag}): {reason}")

    def _add(self, name: str, data: bytearray, *, is_clone: bool = False) -> None:
        if any(vdi.name == name and vdi.snapshot == 0 for vdi in self._vdis):
            raise Refused(f"Failed to create VDI {name}: VDI exists already")
        self._numbers += 1
        self._vdis.append(Vdi(name, data, self._numbers, is_clone))

    def _resize(self, vdi: Vdi, size: int) -> None:
        if size < len(vdi.data):
            raise Refused("Shrinking VDIs is not implemented", USAGE)
        vdi.data.extend(bytes(size - len(vdi.data)))

    def _write(self, vdi: Vdi, offset: int, data: bytes) -> None:
        if offset > len(vdi.data):
            raise Refused("Write offset is beyond the end of the VDI")
        if sum(len(each.data) for each in self._vdis if not each.is_clone) > self._room_bytes:
            raise Refused("Failed to write object 80000001: Server has no space for new objects\nFailed to write VDI")
        end = min(len(vdi.data), offset + len(data))
        vdi.data[offset:end] = data[: end - offset]

    def _read(self, vdi: Vdi, offset: int, length: int) -> bytes:
        if offset > len(vdi.data):
            raise Refused("Read offset is beyond the end of the VDI")
        return bytes(vdi.data[offset : offset + length])

    def _snapshot(self, vdi: Vdi, tag: str) -> None:
        if any(each.name == vdi.name and each.tag == tag for each in self._vdis):
            raise Refused(f"Failed to create snapshot for {vdi.name}, maybe tag ({tag}) is existed")
        self._numbers += 1
        number = max(each.snapshot for each in self._vdis if each.name == vdi.name) + 1
        self._vdis.append(Vdi(vdi.name, bytearray(vdi.data), self._numbers, snapshot=number, tag=tag))

    def _delete(self, name: str, tag: str) -> None:
        try:
            vdi = self._find(name, tag)
            if vdi.is_locked:
                raise Refused(f"Failed to delete {name}: VDI is already locked")
        except Refused as refused:
            raise Refused(str(refused), OK) from None
        self._vdis.remove(vdi)


class Handler(socketserver.StreamRequestHandler):
    """One command of a dog: a line of JSON, then its input."""

    cluster: Cluster
    lock = threading.Lock()

    def handle(self) -> None:
        """Answer with a line of JSON, then the output."""
        request = json.loads(self.rfile.readline())
        data = self.rfile.read(request["input_bytes"])
        if len(data) < request["input_bytes"]:
            return  # it was killed
        with self.lock:
            status, text, output = self.cluster.answer(request["words"], data)
        head = {"status": status, "text": text, "output_bytes": len(output)}
        try:
            self.wfile.write(json.dumps(head).encode() + b"\n" + output)
        except (BrokenPipeError, ConnectionResetError):
            return  # likewise


class Server(socketserver.ThreadingTCPServer):
    """Serves until it is killed."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    Handler.cluster = Cluster(int(sys.argv[2]) * MIB)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
