"""The chunk decoder: the same answer however the bytes are split, and no second reading of anything."""

import socket
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.http.server.chunked import SIZE_LINE_BYTES, TRAILER_BYTES, ChunkDecoder, ChunkError
from blick.http.server.handoff import receive_chunks
from blick.http.server.inbound import Inbound

BEHIND = b"GET / HTTP/1.1\r\n\r\n"


def encode(chunks: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks if chunk)
    return body + b"0\r\n" + trailers + b"\r\n"


def decode(pieces: list[bytes]) -> tuple[bytes, bytes, Inbound]:
    """Payload, what came behind the body, and the state."""
    inbound, payload, behind = Inbound(None), b"", b""
    for piece in pieces:
        used = inbound.feed(piece) if not inbound.complete and inbound.broken is None else 0
        behind += piece[used:]
        payload += inbound.take()
    return payload, behind, inbound


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(
    st.lists(st.binary(max_size=300)),
    st.lists(st.integers(0, 5000), max_size=30),
    st.sampled_from([b"", b";a", b";a=b", b' ; a="b c"', b"\t;x"]),
    st.sampled_from([b"", b"x: y\r\n", b"x:\r\ny: z\r\n"]),
)
def test_any_split_gives_the_same(chunks: list[bytes], cuts: list[int], extension: bytes, trailers: bytes) -> None:
    payload, behind, inbound = decode(split(encode(chunks, extension, trailers) + BEHIND, cuts))
    assert payload == b"".join(chunks)
    assert behind == BEHIND
    assert inbound.complete
    assert inbound.broken is None


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=10))
def test_garbage_is_judged_the_same_however_it_is_split(data: bytes, cuts: list[int]) -> None:
    whole, pieces = decode([data]), decode(split(data, cuts))
    assert (whole[2].complete, whole[2].broken is None) == (pieces[2].complete, pieces[2].broken is None)
    if whole[2].complete:
        assert whole[:2] == pieces[:2]


@pytest.mark.parametrize(
    "data",
    [
        b"g\r\n",
        b"\r\n",
        b" 5\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\r\n",
        b"+5\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5_0\r\n",
        b"5,5\r\n",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"5\r\nhello\r5",
        b"5\rhello",
        b"5;a\x00b\r\n",
        b"5;a\rb\r\n",
        b"1" * 16,
        b"0\r\nno colon\r\n",
        b"0\r\n folded: x\r\n",
        b"0\r\n: x\r\n",
        b"0\r\nx : y\r\n",
        b"0\r\nx: y\n",
        b"5;" + b"a" * SIZE_LINE_BYTES,
        b"0\r\nx: " + b"a" * TRAILER_BYTES,
        b"0\r\n" + b"x: y\r\n" * (TRAILER_BYTES // 6 + 1),
    ],
)
def test_malformed_chunks_are_refused_without_waiting_for_more(data: bytes) -> None:
    for pieces in ([data], [data[place : place + 1] for place in range(len(data))]):
        payload, _, inbound = decode(pieces)
        assert inbound.broken is not None
        assert not inbound.complete
        assert payload in (b"", b"hello")


def test_a_body_that_goes_on_is_neither_complete_nor_broken() -> None:
    _, _, inbound = decode([encode([b"hello"])[:-1]])
    assert not inbound.complete
    assert inbound.broken is None


class Reader:
    """Receives chunks from a socket as the hand-off does."""

    def __init__(self, data: bytes, side_bytes: int) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.sendall(data)
        self._side = memoryview(bytearray(side_bytes))
        self.rest = memoryview(b"")
        self.decoder = ChunkDecoder()

    def read(self, buffer: memoryview) -> int:
        if self.rest:
            return self._work_off(buffer)
        if self.decoder.payload_bytes == 0:
            self.rest = self._side[: self._here.recv_into(self._side)]
            return self._work_off(buffer)
        filled, self.rest = receive_chunks(self._here, self.decoder, buffer, self._side)
        return filled

    def _work_off(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.rest), self.decoder.payload_bytes)
        if count:
            buffer[:count] = self.rest[:count]
            self.decoder.took(count)
        else:
            count, used = 0, self.decoder.read_framing(self.rest)
            self.rest = self.rest[used:]
            return 0
        self.rest = self.rest[count:]
        return count

    def close(self) -> bytes:
        """What came behind the body."""
        behind = bytes(self.rest)
        with suppress(BlockingIOError):
            behind += self._here.recv(65536)
        self._here.close()
        self._there.close()
        return behind


@given(
    st.lists(st.sampled_from([1, 7, 100, 100, 100, 100, 255, 256]), max_size=60),
    st.integers(1, 3000),
    st.sampled_from([1, 3, 50, 1000]),
    st.sampled_from([b"", b";q=1"]),
)
def test_chunks_received_by_bets_come_out_whole(
    sizes: list[int], buffer_bytes: int, side_bytes: int, extension: bytes
) -> None:
    chunks = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    reader = Reader(encode(chunks, extension) + BEHIND, side_bytes)
    buffer, payload = memoryview(bytearray(buffer_bytes)), b""
    while not reader.decoder.complete:
        count = reader.read(buffer)
        payload += buffer[:count]
    assert reader.close() == BEHIND
    assert payload == b"".join(chunks)


def test_a_likely_frame_is_only_offered_where_the_size_stands_alone() -> None:
    decoder = ChunkDecoder()
    assert decoder.read_framing(memoryview(b"0A\r\n0123")) == 4
    assert (decoder.likely_frame, decoder.likely_bytes) == (b"\r\n0A\r\n", 10)
    decoder.took(10)
    decoder.passed_likely_frame()
    assert decoder.payload_bytes == 10
    decoder.took(10)
    with pytest.raises(ChunkError):
        decoder.read_framing(memoryview(b"a"))
