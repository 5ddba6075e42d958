"""The benchmark's client against a server of a few lines: what it sends must be what it was given."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.http11 import Connection, UnexpectedAnswer


@contextmanager
def _server(*answers: bytes, end: bytes = b"\r\n\r\n") -> Iterator[tuple[int, list[bytes]]]:
    """Answers the requests of one connection in order; a request is read up to `end`."""
    received: list[bytes] = []

    def serve() -> None:
        connection = listener.accept()[0]
        with connection:
            for answer in answers:
                data = b""
                while not data.endswith(end):
                    data += connection.recv(65536)
                received.append(data)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], received
        thread.join()


def test_a_connection_is_kept_and_bodies_are_read_to_their_end() -> None:
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    second = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with _server(first, second) as (port, received):
        connection = Connection(port)
        assert connection.request("GET", "/one", 200).body == b"hello"
        assert connection.request("GET", "/two", 200).body == b"abcde"
        connection.close()
    assert [request.split()[1] for request in received] == [b"/one", b"/two"]


def test_a_discarded_body_is_counted() -> None:
    with _server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello") as (port, _):
        answer = Connection(port).request("GET", "/", 200, discard=True)
    assert (answer.body, answer.body_bytes) == (b"", 5)


def test_another_status_or_a_cut_body_is_an_error() -> None:
    with _server(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n") as (port, _):
        connection = Connection(port)
        with pytest.raises(UnexpectedAnswer, match="500 instead of 200"):
            connection.request("GET", "/", 200)
        connection.close()
    with _server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello") as (port, _):
        connection = Connection(port)
        with pytest.raises(UnexpectedAnswer, match="5 bytes received instead of 9"):
            connection.request("GET", "/", 200)
        connection.close()


def test_a_chunked_upload_frames_the_slice_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789")
    with (
        _server(b"HTTP/1.1 204 No Content\r\n\r\n", end=b"\r\n0\r\n\r\n") as (port, received),
        (tmp_path / "data").open("rb") as source,
    ):
        connection = Connection(port)
        connection.upload("/x", source, offset=2, size_bytes=5, chunk_bytes=2)
        connection.close()
    assert b"".join(received).partition(b"\r\n\r\n")[2] == b"2\r\n23\r\n2\r\n45\r\n1\r\n6\r\n0\r\n\r\n"
