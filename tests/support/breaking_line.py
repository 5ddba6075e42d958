"""A line between a client and a server that breaks when a test wants it to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.server import HOST

_PIECE_BYTES = 1 << 16


class BreakingLine:
    """Passes on what comes to `port`, to the server at `target_port`, until it is cut. Threads end with the line."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._is_cut = False
        self._left_bytes: dict[str, int | None] = {"up": None, "down": None}
        self._let_go = threading.Event()
        self.is_held = threading.Event()
        """Whether the line holds something back that a test wants it to hold back."""

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"{HOST}:{self.port}"

    def cut(self) -> None:
        """Reset every connection, and whatever comes until `mend`."""
        with self._lock:
            self._is_cut = True
            ends, self._ends = self._ends, set()
        self._let_go.set()
        for end in ends:
            _reset(end)

    def mend(self) -> None:
        """Pass everything on again, as far as `hold_after` lets it."""
        with self._lock:
            self._is_cut = False
            self._left_bytes = {"up": None, "down": None, "hold": self._left_bytes.get("hold")}

    def cut_after(self, size_bytes: int, direction: str = "up") -> None:
        """Cut the line for good once so many more bytes have gone `up` to the server, or come `down` from it."""
        self._left_bytes[direction] = size_bytes

    def hold_after(self, size_bytes: int) -> None:
        """Once so many more bytes have gone up, let no more pass until the line is cut; nobody's connection ends."""
        self._let_go.clear()
        self.is_held.clear()
        self._left_bytes["hold"] = size_bytes

    def reset_after(self, size_bytes: int) -> None:
        """Reset the connections once, after so many more bytes have come down; new ones are passed on."""
        self._left_bytes["reset"] = size_bytes

    def run(self) -> None:
        """Accept until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._begin(client)

    def close(self) -> None:
        """End the line."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _begin(self, client: socket.socket) -> None:
        with self._lock:
            is_cut = self._is_cut
        if is_cut:
            _reset(client)
            return
        try:
            server = socket.create_connection((HOST, self._target_port))
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._ends |= {client, server}
        threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        up = threading.Thread(target=self._pass_on, args=(client, server, "up"), daemon=True)
        up.start()
        self._pass_on(server, client, "down")
        up.join()
        with self._lock:
            self._ends -= {client, server}
        for end in (client, server):
            end.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                sink.sendall(piece)
                if direction == "up" and self._is_used_up("hold", len(piece)):
                    self._left_bytes["hold"] = None
                    self.is_held.set()
                    self._let_go.wait()
                if self._is_used_up(direction, len(piece)):
                    self.cut()
                elif direction == "down" and self._is_used_up("reset", len(piece)):
                    self._left_bytes["reset"] = None
                    self.cut()
                    with self._lock:
                        self._is_cut = False
            sink.shutdown(socket.SHUT_WR)

    def _is_used_up(self, direction: str, size_bytes: int) -> bool:
        with self._lock:
            left_bytes = self._left_bytes.get(direction)
            if left_bytes is None:
                return False
            self._left_bytes[direction] = left_bytes - size_bytes
            return left_bytes <= size_bytes


def _reset(end: socket.socket) -> None:
    """Close with a reset, so that the other side learns at once."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def breaking_line(target_port: int) -> Iterator[BreakingLine]:
    """One that runs inside the `with`."""
    line = BreakingLine(target_port)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.close()
        thread.join()
