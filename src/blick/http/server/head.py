"""Request heads: everything up to the empty line, judged strictly.

Two programs that read one head differently can be played against each other (request smuggling), so whatever
has two readings is refused. llhttp does the syntax; what it leaves open is decided here.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

import httptools

from blick.http.server.limits import ProtocolLimits

END = b"\r\n\r\n"
Headers = list[tuple[bytes, bytes]]

_KNOWN_METHODS = frozenset((b"GET", b"PUT", b"POST", b"HEAD", b"PATCH", b"DELETE", b"OPTIONS"))
_METHOD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::[0-9]{0,5})?")
_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_LENGTH_DIGITS = 18  # 10^18 bytes are more than anyone sends, and fit any integer type


class HeadRejected(Exception):
    """The head is refused with this status; the text is for the client."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(text)


@dataclass(slots=True)
class RequestHead:
    """A request without its body. Header names are in lower case; a chunked body has `body_bytes` None."""

    method: str
    path: str  # percent-decoded; bytes that are not UTF-8 stay as surrogate escapes
    raw_path: bytes
    query: bytes
    version: str
    headers: Headers
    keep_alive: bool
    body_bytes: int | None
    expects_continue: bool


def parse_head(data: bytes, limits: ProtocolLimits) -> RequestHead:
    """Read a head, `data`, which ends with its empty line. Raises HeadRejected."""
    method, space, _ = data.partition(b" ")
    if method not in _KNOWN_METHODS:
        if not space or not _METHOD.fullmatch(method):
            raise HeadRejected(400, "Malformed request line.")
        data = b"POST" + data[len(method) :]  # llhttp refuses methods that it does not know; the application answers
    syntax = _Syntax(limits.header_count)
    syntax.feed(data)
    if syntax.version not in ("1.1", "1.0"):
        raise HeadRejected(505, "This server speaks HTTP/1.1.")
    if len(data) > limits.header_line_bytes:
        _check_lines(data, limits.header_line_bytes)
    path, query = _split_target(syntax.target)
    body_bytes, expects_continue = _framing(syntax.special, syntax.version)
    return RequestHead(
        method.decode("ascii"),
        unquote(path.decode("ascii"), errors="surrogateescape") if b"%" in path else path.decode("ascii"),
        path,
        query,
        syntax.version,
        syntax.headers,
        syntax.keep_alive and syntax.version == "1.1",
        body_bytes,
        expects_continue,
    )


class _Syntax:
    """What llhttp finds; its callbacks have the names that httptools looks for."""

    def __init__(self, most_headers: int) -> None:
        self._most_headers = most_headers
        self.target = b""
        self.headers: Headers = []
        self.special: Headers = []
        self.version = ""
        self.keep_alive = False
        self._complete = 0
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Parse exactly one head. Raises HeadRejected."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer to speak something else may be ignored
        except httptools.HttpParserError as error:
            reason = error.__context__ if isinstance(error.__context__, HeadRejected) else None
            raise reason or HeadRejected(400, "Malformed request.") from error
        if self._complete != 1:
            raise HeadRejected(400, "Malformed request.")

    def on_url(self, url: bytes) -> None:
        """The target, or a further piece of it."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; llhttp has checked its name and stripped its value."""
        name = name.lower()
        self.headers.append((name, value))
        if name in _FRAMING:
            self.special.append((name, value.strip()))
        if len(self.headers) > self._most_headers:
            raise HeadRejected(431, "Too many headers.")

    def on_headers_complete(self) -> None:
        """The empty line."""
        self._complete += 1
        self.version = self._parser.get_http_version()
        self.keep_alive = self._parser.should_keep_alive()


def _check_lines(data: bytes, most_bytes: int) -> None:
    if any(len(line) > most_bytes for line in data.split(b"\r\n")):
        raise HeadRejected(431, "A header is too long.")


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query, from the forms of RFC 9112 §3.2 that a server (not a proxy) is asked in."""
    if not target.startswith(b"/") and target != b"*":
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in (b"http", b"https"):
            raise HeadRejected(400, "Malformed request target.")
        authority, slash, path = rest.partition(b"/")
        if b"?" in authority:
            raise HeadRejected(400, "Malformed request target.")
        target = slash + path or b"/"
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return path, query


def _framing(special: Headers, version: str) -> tuple[int | None, bool]:
    """How long the body is (None: chunked) and whether the client waits before it sends it."""
    found: dict[bytes, bytes] = {}
    for name, value in special:
        if name in found:
            raise HeadRejected(400, f"More than one {name.decode('ascii')} header.")
        found[name] = value
    host = found.get(b"host")
    if (host is None and version == "1.1") or (host is not None and not _HOST.fullmatch(host)):
        raise HeadRejected(400, "Missing or malformed host header.")
    expects_continue = _expectation(found.get(b"expect"), version)
    length, coding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or version == "1.0" or coding.lower() != b"chunked":
            raise HeadRejected(400, "Unsupported transfer-encoding.")
        return None, expects_continue
    if length is None:
        return 0, False
    if not (length.isdigit() and len(length) <= _LENGTH_DIGITS):
        raise HeadRejected(400, "Malformed content-length.")
    return int(length), expects_continue and length.strip(b"0") != b""


def _expectation(expect: bytes | None, version: str) -> bool:
    if expect is None or version == "1.0":
        return False
    if expect.lower() != b"100-continue":
        raise HeadRejected(417, "The only expectation that can be met is 100-continue.")
    return True
