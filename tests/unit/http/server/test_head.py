"""Request heads: what is let in, and what could be read in two ways and is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.http.server.head import HeadRejected, RequestHead, parse_head
from blick.http.server.limits import ProtocolLimits

LIMITS = ProtocolLimits()
HOST = b"Host: here:9292\r\n"


def parse(lines: bytes, first: bytes = b"GET /v2/images HTTP/1.1", host: bytes = HOST) -> RequestHead:
    return parse_head(first + b"\r\n" + host + lines + b"\r\n", LIMITS)


def test_a_plain_request() -> None:
    request = parse(b"X-Auth-Token: abc\r\nAccept:*/*\r\n", b"GET /v2/images?limit=5&a=%20 HTTP/1.1")
    assert (request.method, request.path, request.query) == ("GET", "/v2/images", b"limit=5&a=%20")
    assert request.headers == [(b"host", b"here:9292"), (b"x-auth-token", b"abc"), (b"accept", b"*/*")]
    assert (request.body_bytes, request.keep_alive, request.expects_continue) == (0, True, False)


@pytest.mark.parametrize(
    ("lines", "body_bytes", "waits"),
    [
        (b"Content-Length: 5\r\n", 5, False),
        (b"Content-Length: 0\r\nExpect: 100-continue\r\n", 0, False),
        (b"Content-Length: 100000000000\r\nExpect: 100-Continue\r\n", 100_000_000_000, True),
        (b"Transfer-Encoding: chunked\r\n", None, False),
        (b"Transfer-Encoding: CHUNKED\r\nExpect: 100-continue\r\n", None, True),
        (b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n", 3, False),
    ],
)
def test_bodies(lines: bytes, body_bytes: int | None, waits: bool) -> None:
    request = parse(lines, b"PUT / HTTP/1.1")
    assert (request.body_bytes, request.expects_continue) == (body_bytes, waits)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: 9999999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Content-Length\t: 5\r\n",
        b" Content-Length: 5\r\n",
        b"X: a\r\n Content-Length: 5\r\n",
        b"X: a\nContent-Length: 5\r\n",
        b"X: a\rContent-Length: 5\r\n",
        b"X\x00: a\r\n",
        b"X: a\x00b\r\n",
        b": a\r\n",
        b"no colon\r\n",
        b"Host: there\r\n",
        HOST,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(lines: bytes) -> None:
    with pytest.raises(HeadRejected) as refusal:
        parse(lines, b"PUT / HTTP/1.1")
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "host", [b"", b"Host:\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: u@h\r\n", b"Host: a:b\r\n"]
)
def test_the_host_header_has_to_be_there_and_sane(host: bytes) -> None:
    with pytest.raises(HeadRejected) as refusal:
        parse(b"", host=host)
    assert refusal.value.status == 400


@pytest.mark.parametrize("host", [b"a", b"a_b.example:1", b"10.0.0.1:9292", b"[::1]", b"[fe80::1]:9292", b"a:"])
def test_usual_hosts(host: bytes) -> None:
    assert parse(b"", host=b"Host: " + host + b"\r\n").headers == [(b"host", host)]


def test_http_1_0_needs_no_host_and_closes() -> None:
    request = parse(b"Connection: keep-alive\r\n", b"GET / HTTP/1.0", host=b"")
    assert (request.version, request.keep_alive) == ("1.0", False)
    with pytest.raises(HeadRejected):
        parse(b"Transfer-Encoding: chunked\r\n", b"PUT / HTTP/1.0")
    assert not parse(b"Connection: close\r\n").keep_alive


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET /", 505),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/11", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET here HTTP/1.1", 400),
        (b"GET ftp://here/ HTTP/1.1", 400),
        (b"GET http://here?x/y HTTP/1.1", 400),
        (b"CONNECT here:80 HTTP/1.1", 400),
        (b"G\xc3T / HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"A" * 33 + b" / HTTP/1.1", 400),
        (b"", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_malformed_request_lines(first: bytes, status: int) -> None:
    with pytest.raises(HeadRejected) as refusal:
        parse(b"", first)
    assert refusal.value.status == status


@pytest.mark.parametrize("method", ["BREW", "TRACE", "PROPFIND", "get", "X-y_z"])
def test_the_application_judges_unusual_methods(method: str) -> None:
    assert parse(b"", method.encode() + b" / HTTP/1.1").method == method


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://here:9292/v2?x=1", "/v2", b"x=1"),
        (b"HTTPS://here", "/", b""),
        (b"*", "*", b""),
        (b"//v2//images", "//v2//images", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/a?", "/a", b""),
        (b"/%C3%A4%2Fb", "/ä/b", b""),
        (b"/%ff%41", "/\udcffA", b""),
    ],
)
def test_targets(target: bytes, path: str, query: bytes) -> None:
    request = parse(b"", b"GET " + target + b" HTTP/1.1")
    assert (request.path, request.query) == (path, query)


def test_limits() -> None:
    with pytest.raises(HeadRejected) as refusal:
        parse(b"x: y\r\n" * LIMITS.header_count)
    assert refusal.value.status == 431
    parse(b"x: y\r\n" * (LIMITS.header_count - 1))
    tight = replace(LIMITS, header_line_bytes=100)
    data = b"GET / HTTP/1.1\r\n" + HOST + b"X: %s\r\n\r\n"
    parse_head(data % (b"a" * 97), tight)
    with pytest.raises(HeadRejected) as refusal:
        parse_head(data % (b"a" * 98), tight)
    assert refusal.value.status == 431


def test_other_expectations() -> None:
    with pytest.raises(HeadRejected) as refusal:
        parse(b"Expect: miracles\r\n")
    assert refusal.value.status == 417


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    status = 200
    try:
        parse_head(b"GET / HTTP/1.1\r\n" + data.replace(b"\r\n\r\n", b"") + b"\r\n\r\n", LIMITS)
    except HeadRejected as rejection:
        status = rejection.status
    assert status in (200, 400, 417, 431, 505)
