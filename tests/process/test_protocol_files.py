"""Files sent past the event loop, over real sockets."""

import contextlib
import hashlib
import os
import pickle
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blick.http.server.limits import ProtocolLimits
from blick.http.server.protocol import protocol_class
from tests.support.tiny_server import TinyServer, read_all, read_answer, serve

SIZE_BYTES = 24 << 20
GET = b"GET /file?%d,%d,%s HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return os.urandom(1 << 20) * (SIZE_BYTES >> 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> Path:
    made = tmp_path_factory.mktemp("served")
    (made / "data").write_bytes(data)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TinyServer]:
    with serve(folder, ProtocolLimits()) as running:
        yield running


def get(offset: int, count: int, promised: int | None = None) -> bytes:
    return GET % (offset, count, b"%d" % (count if promised is None else promised))


@pytest.mark.parametrize(("offset", "count"), [(0, SIZE_BYTES), (1, 1), (5000, 9_000_001), (SIZE_BYTES - 7, 7)])
def test_ranges_of_a_file(server: TinyServer, data: bytes, offset: int, count: int) -> None:
    with server.connect() as connection:
        for _ in range(2):  # and the connection lives on
            connection.sendall(get(offset, count))
            status, headers, body = read_answer(connection)
            assert (status, body == data[offset : offset + count]) == (200, True)
            assert "connection" not in headers


def test_an_empty_part(server: TinyServer) -> None:
    with server.connect() as connection:
        connection.sendall(get(0, 0))
        assert read_answer(connection)[2] == b""


def test_head_sends_no_bytes(server: TinyServer) -> None:
    with server.connect() as connection:
        connection.sendall(
            get(0, 1000).replace(b"GET", b"HEAD") + get(0, 3).replace(b"h\r\n", b"h\r\nConnection: close\r\n")
        )
        answer = read_all(connection)
    assert b"content-length: 1000\r\n\r\nHTTP/1.1 200 OK\r\n" in answer.replace(
        answer[answer.index(b"date: ") : answer.index(b"content-length: 1000")], b""
    )


def test_without_a_length_the_file_goes_out_in_chunks(server: TinyServer, data: bytes) -> None:
    with server.connect() as connection:
        connection.sendall((GET % (0, 1000, b"c")).replace(b"h\r\n", b"h\r\nConnection: close\r\n"))
        answer = read_all(connection)
    assert answer.endswith(b"\r\n\r\n1f4\r\n%s\r\n1f4\r\n%s\r\n0\r\n\r\n" % (data[:500], data[500:1000]))
    with server.connect() as connection:
        connection.sendall((GET % (0, 1000, b"c")).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert read_all(connection).endswith(b"\r\n\r\n" + data[:1000])


def test_slow_readers_share_one_thread(folder: Path, data: bytes) -> None:
    """Ten clients read in turns, a little each, where there is one thread."""
    with serve(folder, ProtocolLimits(threads=1, send_patience_s=0.005)) as server:
        connections = [server.connect(receive_bytes=65_536) for _ in range(10)]
        received = [bytearray() for _ in connections]
        for connection in connections:
            connection.sendall(get(0, SIZE_BYTES // 2).replace(b"h\r\n", b"h\r\nConnection: close\r\n"))
        time.sleep(0.1)
        open_ones = set(range(10))
        while open_ones:
            for number in sorted(open_ones):
                piece = connections[number].recv(3_000_000)
                received[number] += piece
                if not piece:
                    open_ones.discard(number)
        for connection, body in zip(connections, received, strict=True):
            connection.close()
            assert body.endswith(data[: SIZE_BYTES // 2])


def test_a_reader_that_is_gone_is_noticed(folder: Path) -> None:
    with serve(folder, ProtocolLimits()) as server:
        connection = server.connect(receive_bytes=4096)
        connection.sendall(get(0, SIZE_BYTES))
        assert connection.recv(100)
        time.sleep(0.2)  # the transfer is parked
        connection.close()
        server.application.await_note("sent")  # the application went on, and was told that nobody listens


def test_a_reader_that_stalls_is_cut_off(folder: Path) -> None:
    limits = ProtocolLimits(stall_s=0.3)
    with serve(folder, limits) as server, server.connect(receive_bytes=4096) as connection:
        connection.sendall(get(0, SIZE_BYTES))
        server.application.await_note("sent")
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 20):
                received += len(piece)
        assert received < SIZE_BYTES


def test_a_file_that_is_too_short_cuts_the_connection(server: TinyServer, data: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(get(SIZE_BYTES - 1000, 5000))
        received = read_all(connection)
    assert received.partition(b"\r\n\r\n")[2] == data[-1000:]  # 4000 less than promised, then the end


def test_more_than_promised_is_refused(server: TinyServer) -> None:
    with server.connect() as connection:
        connection.sendall(get(0, 5000, promised=10))
        assert len(read_all(connection).partition(b"\r\n\r\n")[2]) <= 10


def test_a_quick_request_is_served_while_files_are_sent(server: TinyServer) -> None:
    slow = [server.connect(receive_bytes=4096) for _ in range(40)]  # more than there are threads
    for connection in slow:
        connection.sendall(get(0, SIZE_BYTES))
    time.sleep(0.2)
    with server.connect() as connection:
        connection.sendall(get(0, 100_000))
        assert len(read_answer(connection)[2]) == 100_000
    for connection in slow:
        connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", str(made), "-out", str(made) + ".crt"], check=True, capture_output=True
    )
    made.write_text(made.read_text() + Path(str(made) + ".crt").read_text())
    return made


def test_under_tls_everything_goes_through_the_event_loop(folder: Path, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate) + ".crt")
    context.check_hostname = False
    body = os.urandom(3_000_000)
    head = b"PUT /%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    with (
        serve(folder, ProtocolLimits(), ssl_certfile=str(certificate)) as server,
        server.connect() as plain,
        context.wrap_socket(plain) as connection,
    ):
        for path, expected in ((b"handoff", (200, b"3000000")), (b"early", (413, b"too lar"))):
            connection.sendall(head % (path, len(body)) + body)
            status, _, answer = read_answer(connection)
            assert (status, answer[:7]) == expected


def test_the_protocol_survives_the_way_to_a_worker() -> None:
    again = pickle.loads(pickle.dumps(protocol_class(ProtocolLimits(head_bytes=123))))
    assert again._limits == ProtocolLimits(head_bytes=123)


def test_a_body_that_is_lent_is_let_go_of_when_send_returns(server: TinyServer) -> None:
    expected = b"".join(bytes([number]) * (1 << 20) for number in range(4))
    with server.connect(receive_bytes=4096) as connection:  # the server cannot send ahead
        connection.sendall(b"GET /lent?4 HTTP/1.1\r\nHost: h\r\n\r\n")
        status, _, body = read_answer(connection)
    assert status == 200
    assert hashlib.sha256(body).digest() == hashlib.sha256(expected).digest()
