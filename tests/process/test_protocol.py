"""Requests and responses over real sockets: framing, pipelining, limits, ends of connections."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blick.http.server.limits import ProtocolLimits
from tests.support.tiny_server import TinyServer, read_all, read_answer, serve

HEAD = b"PUT /%s HTTP/1.1\r\nHost: h\r\n"
GET = b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    with serve(tmp_path_factory.mktemp("files"), ProtocolLimits()) as running:
        yield running


def told(body: bytes) -> bytes:
    return b"%d %s" % (len(body), hashlib.md5(body).hexdigest().encode())


def with_length(path: bytes, body: bytes, more: bytes = b"") -> bytes:
    return HEAD % path + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(path: bytes, body: bytes, chunk_bytes: int, more: bytes = b"") -> bytes:
    pieces = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD % path + more + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def bodies(answers: bytes) -> list[bytes]:
    """The bodies of responses that have a content-length each."""
    found = []
    while answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        found.append(rest[:length])
        answers = rest[length:]
    return found


# Requests


def test_what_the_application_sees(server: TinyServer) -> None:
    answer = server.talk(
        b"GET /some%2Fwhere%ff?a=%20 HTTP/1.1\r\nHost: h\r\nX-A: \xe4\r\nx-a: 2\r\nConnection: close\r\n\r\n"
    )
    seen = json.loads(bodies(answer)[0])
    assert bytes.fromhex(seen["path"]) == b"/some/where\xff"
    assert (seen["raw_path"], seen["query"], seen["method"]) == ("/some%2Fwhere%ff", "a=%20", "GET")
    assert seen["headers"] == [["host", "h"], ["x-a", "\xe4"], ["x-a", "2"], ["connection", "close"]]
    assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")


SIZES = [1, 65_536, 300_000, 1_000_000]


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("path", [b"receive", b"handoff", b"handoff/x?1000", b"handoff?2000000", b"mixed"])
@pytest.mark.parametrize("chunk_bytes", [None, 999, 65_536])
def test_pipelined_requests_behind_bodies(
    server: TinyServer, path: bytes, size_bytes: int, chunk_bytes: int | None
) -> None:
    """Three bodies and a request, sent in one go: every byte belongs to one of them."""
    blocks = [bytes([number]) * size_bytes for number in b"abc"]
    if chunk_bytes is None:
        data = b"".join(with_length(path, block) for block in blocks)
    else:
        data = b"".join(in_chunks(path, block, chunk_bytes) for block in blocks)
    with server.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(data + CLOSE,))
        sender.start()
        answers = bodies(read_all(connection))
        sender.join()
    assert answers[:3] == [told(block) for block in blocks]
    assert json.loads(answers[3])["path"] == b"/last".hex()


@pytest.mark.parametrize("path", [b"receive", b"handoff", b"mixed"])
def test_bodies_that_come_byte_by_byte(server: TinyServer, path: bytes) -> None:
    data = with_length(path, b"hello") + in_chunks(path, b"hello world", 4, b"X: y\r\n") + CLOSE
    with server.connect() as connection:
        for place in range(len(data)):
            connection.sendall(data[place : place + 1])
            if place % 7 == 0:
                time.sleep(0.001)
        answers = bodies(read_all(connection))
    assert answers[:2] == [told(b"hello"), told(b"hello world")]


def test_the_connection_lives_on_after_an_upload(server: TinyServer) -> None:
    with server.connect() as connection:
        for number in range(5):
            body = bytes([number]) * (1 << 20)
            connection.sendall(in_chunks(b"handoff", body, 1 << 18))
            status, headers, answer = read_answer(connection)
            assert (status, answer, "connection" in headers) == (200, told(body), False)


def test_empty_lines_before_a_request_are_ignored(server: TinyServer) -> None:
    answers = server.talk(b"\r\n\r\n" + GET % b"x" + b"\r\n" + CLOSE)
    assert len(bodies(answers)) == 2


def test_an_upgrade_is_not_taken(server: TinyServer) -> None:
    more = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert bodies(server.talk(with_length(b"receive", b"abc", more) + CLOSE))[0] == told(b"abc")


@pytest.mark.parametrize(
    "data",
    [
        HEAD % b"receive" + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        HEAD % b"receive" + b"Content-Length: 6\r\nContent-Length: 7\r\n\r\n1234567",
        HEAD % b"receive" + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
def test_smuggling_is_refused_and_nothing_behind_it_is_looked_at(server: TinyServer, data: bytes) -> None:
    answer = server.talk(data + CLOSE, half_close=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", [b"receive", b"handoff"])
@pytest.mark.parametrize("bad", [b"5\r\nhelloX\r\n", b"zz\r\n", b"5\nhello\r\n", b"1" * 17, b"5;" + b"a" * 999])
def test_broken_chunks(server: TinyServer, path: bytes, bad: bytes) -> None:
    data = HEAD % path + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + bad
    with server.connect() as connection:
        connection.sendall(data)
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (400, "close")


# 100-continue


@pytest.mark.parametrize("path", [b"receive", b"handoff"])
def test_100_continue_is_sent_when_the_body_is_wanted(server: TinyServer, path: bytes) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(HEAD % path + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            expected = b"HTTP/1.1 100 Continue\r\n\r\n"
            assert connection.recv(len(expected), socket.MSG_WAITALL) == expected
            connection.sendall(b"hello")
            assert read_answer(connection)[2] == told(b"hello")


def test_100_continue_is_not_sent_for_what_is_not_wanted(server: TinyServer) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD % b"early" + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (413, "close")
        assert connection.recv(1) == b""


def test_a_client_that_does_not_wait_needs_no_100_continue(server: TinyServer) -> None:
    data = with_length(b"receive", b"hello", b"Expect: 100-continue\r\n")
    assert b"100 Continue" not in server.talk(data + CLOSE)


# Early answers


@pytest.mark.parametrize("path", [b"early", b"early-after"])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_early_answer_reaches_a_client_that_goes_on_sending(server: TinyServer, path: bytes, chunked: bool) -> None:
    """64 MiB are sent before the client looks for an answer: it finds the answer, not a reset."""
    size_bytes, block = 64 << 20, bytes(1 << 20)
    with server.connect() as connection:
        if chunked:
            connection.sendall(HEAD % path + b"Transfer-Encoding: chunked\r\n\r\n")
        else:
            connection.sendall(HEAD % path + b"Content-Length: %d\r\n\r\n" % size_bytes)
        for _ in range(64):
            connection.sendall(b"100000\r\n" + block + b"\r\n" if chunked else block)
        status, headers, body = read_answer(connection)
        assert (status, headers["connection"], body) == (413, "close", b"too large")
        assert connection.recv(1) == b""


def test_a_small_body_that_nobody_read_is_skipped(server: TinyServer) -> None:
    answers = server.talk(with_length(b"early", b"x" * 1000) + CLOSE)
    assert b"connection: close" not in answers.partition(b"\r\n\r\n")[0]
    assert bodies(answers)[0] == b"too large"
    assert json.loads(bodies(answers)[1])["path"] == b"/last".hex()


def test_lingering_has_an_end(tmp_path: Path) -> None:
    with (
        serve(tmp_path, ProtocolLimits(linger_bytes=1 << 20)) as server,
        server.connect() as connection,
    ):
        connection.sendall(HEAD % b"early" + b"Content-Length: 100000000000\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT012 - the reset may take a while
            for _ in range(1000):
                connection.sendall(bytes(1 << 20))
    with serve(tmp_path, ProtocolLimits(linger_s=0.1)) as server, server.connect() as connection:
        connection.sendall(HEAD % b"early" + b"Content-Length: 100000000000\r\n\r\n")
        assert read_answer(connection)[0] == 413
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(1000):
                connection.sendall(b"x")
                time.sleep(0.01)


# Clients that go away, or stay too long


@pytest.mark.parametrize("path", [b"receive", b"handoff"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size_bytes", [10, 600_000])
def test_a_cut_upload_is_never_whole(tmp_path: Path, path: bytes, chunked: bool, size_bytes: int) -> None:
    whole = in_chunks(path, b"x" * size_bytes, 4096) if chunked else with_length(path, b"x" * size_bytes)
    with serve(tmp_path, ProtocolLimits()) as server:
        answer = server.talk(whole[:-1], half_close=True)  # not even the last byte may lack
        assert answer.startswith(b"HTTP/1.1 400 ")
        with server.connect() as connection:  # gone for good
            connection.sendall(whole[:-1])
        server.application.await_note("incomplete")


@pytest.mark.parametrize("path", [b"receive", b"handoff"])
def test_an_idle_upload_ends(tmp_path: Path, path: bytes) -> None:
    with serve(tmp_path, ProtocolLimits(body_idle_s=0.2)) as server, server.connect() as connection:
        connection.sendall(with_length(path, b"x" * 100)[:-1])
        status, headers, body = read_answer(connection)
        assert (status, headers["connection"]) == (400, "close")
        assert path == b"receive" or b"too long" in body


def test_a_head_that_takes_too_long(tmp_path: Path) -> None:
    with serve(tmp_path, ProtocolLimits(head_s=0.2)) as server:
        with server.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHo")
            assert read_all(connection).startswith(b"HTTP/1.1 408 ")
        with server.connect() as connection:  # never sent anything
            assert connection.recv(1) == b""


def test_idle_connections_are_closed(tmp_path: Path) -> None:
    with serve(tmp_path, ProtocolLimits(keep_alive_s=0.2)) as server, server.connect() as connection:
        connection.sendall(GET % b"x")
        assert "connection" not in read_answer(connection)[1]
        assert connection.recv(1) == b""


def test_keep_alive_can_be_off(tmp_path: Path) -> None:
    with serve(tmp_path, ProtocolLimits(keep_alive_s=0)) as server, server.connect() as connection:
        connection.sendall(GET % b"x")
        assert read_answer(connection)[1]["connection"] == "close"
        assert connection.recv(1) == b""


def test_oversized_heads(server: TinyServer) -> None:
    for data in (
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"x: y\r\n" * 201 + b"\r\n",
        b"a" * 10_000_000,
    ):
        with server.connect() as connection:
            connection.sendall(data)
            assert read_answer(connection)[0] == 431


def test_the_application_is_told_when_a_watched_client_goes(server: TinyServer) -> None:
    connection = server.connect()
    connection.sendall(GET % b"watch")
    assert connection.recv(10) == b"HTTP/1.1 2"
    connection.close()
    server.application.await_note("http.disconnect")


# The hand-off


def test_slow_clients_share_few_threads(tmp_path: Path) -> None:
    """Twenty clients dribble at once where there is one thread, which hardly waits for anyone."""
    limits = ProtocolLimits(threads=1, receive_patience_s=0.001)
    with serve(tmp_path, limits) as server:
        connections = [server.connect() for _ in range(20)]
        for connection in connections:
            connection.sendall(with_length(b"handoff", b"")[:-5] + b"12\r\n\r\n")
        for turn in range(12):
            for connection in connections:
                connection.sendall(b"%c" % (ord("a") + turn))
            time.sleep(0.005)
        for connection in connections:
            assert read_answer(connection)[2] == told(b"abcdefghijkl")
            connection.close()


def test_a_client_may_change_its_pace(server: TinyServer) -> None:
    blocks = [bytes([number]) * (700_000 if number % 2 else 10) for number in range(10)]
    body = b"".join(blocks)
    with server.connect() as connection:
        connection.sendall(HEAD % b"handoff?1000000" + b"Content-Length: %d\r\n\r\n" % len(body))
        for block in blocks:
            connection.sendall(block)
            time.sleep(0.08)  # longer than the patience of a thread
        assert read_answer(connection)[2] == told(body)
        connection.sendall(GET % b"x")  # a left-over low-water mark would keep this from being seen
        assert read_answer(connection)[0] == 200


def test_watching_for_the_client_takes_no_bytes_from_the_hand_off(server: TinyServer) -> None:
    body = bytes(range(256)) * 20_000
    data = with_length(b"both", body) + in_chunks(b"both", body, 30_000) + CLOSE
    with server.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        answers = bodies(read_all(connection))
        sender.join()
    assert answers[:2] == [told(body), told(body)]


@pytest.mark.parametrize("chunked", [False, True])
def test_cancelling_joins_the_thread(tmp_path: Path, chunked: bool) -> None:
    with (
        serve(tmp_path, ProtocolLimits(receive_patience_s=0.5)) as server,
        server.connect() as connection,
    ):
        framing = b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" if chunked else b"Content-Length: 9999999\r\n\r\n"
        connection.sendall(HEAD % b"cancel" + framing + b"x" * 400_000)
        server.application.await_note("reading")
        time.sleep(0.1)  # the thread waits for more
        assert server.application.task is not None
        server.application.loop.call_soon_threadsafe(server.application.task.cancel)
        connection.sendall(b"y" * 100_000)
        server.application.await_note("cancelled")
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (409, "close")


# Responses


def test_the_forms_of_a_response(server: TinyServer) -> None:
    answer = server.talk(GET % b"pieces" + CLOSE)
    assert b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200" in answer
    answer = server.talk(b"GET /pieces HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"connection: close\r\n\r\nonetwo")
    answer = server.talk(b"HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: " in answer
    answer = server.talk(b"GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in answer


def test_a_response_larger_than_every_buffer(server: TinyServer) -> None:
    with server.connect(receive_bytes=4096) as connection:
        connection.sendall(GET % b"big?8")
        _, _, body = read_answer(connection)
    assert body == b"".join(bytes([number]) * (1 << 20) for number in range(8))


@pytest.mark.parametrize("query", [b"", b"start", b"return", b"start-return"])
def test_a_fault_before_anything_was_sent_is_a_500(server: TinyServer, query: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(GET % (b"crash?" + query))
        status, headers, body = read_answer(connection)
    assert (status, headers["connection"], body) == (500, "close", b"Internal Server Error")


def test_a_fault_in_the_middle_cuts_the_connection(server: TinyServer) -> None:
    answer = server.talk(GET % b"crash?start-body")
    assert answer.endswith(b"4\r\nsome\r\n")  # no last chunk: the client sees that it is not whole


def test_headers_cannot_be_split(server: TinyServer) -> None:
    assert server.talk(GET % b"split").startswith(b"HTTP/1.1 500 ")


# The end of the server


def test_shutdown_closes_idle_connections_and_lets_requests_end(tmp_path: Path) -> None:
    with serve(tmp_path, ProtocolLimits()) as server:
        idle, busy, lingering = server.connect(), server.connect(), server.connect()
        idle.sendall(GET % b"x")
        read_answer(idle)
        busy.sendall(GET % b"wait")
        lingering.sendall(HEAD % b"early" + b"Content-Length: 1000000\r\n\r\n")
        read_answer(lingering)
        server.application.await_note("waiting")
        server.server.should_exit = True
        assert idle.recv(1) == b""
        server.application.loop.call_soon_threadsafe(server.application.go.set)
        status, headers, body = read_answer(busy)
        assert (status, headers["connection"], body) == (200, "close", b"waited")
        assert busy.recv(1) == b""
        for connection in (idle, busy, lingering):
            connection.close()


def test_a_request_that_does_not_end_in_time_gets_a_503(tmp_path: Path) -> None:
    with serve(tmp_path, ProtocolLimits()) as server, server.connect() as connection:
        connection.sendall(GET % b"wait")
        server.application.await_note("waiting")
        server.server.should_exit = True
        assert read_answer(connection)[0] == 503
