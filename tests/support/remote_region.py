"""What another region's image service looks like from outside: one image, and as many lies as a test wants."""

import json
import re
from contextlib import suppress
from typing import Any

from tests.support.local_http import LocalHandler, LocalServer


class RemoteRegion(LocalServer):
    """Answers whoever has the `token`. `requests` are (method, path), `tokens` what came with them.

    `breaks` are used up, one per answer: after so many bytes of its body the connection breaks; one that is not longer
    comes whole, and the connection stays. `statuses` are answered
    instead of the `record`, or of the `file`. `record_text` takes the place of the record's JSON.
    """

    def __init__(self, record: Any, data: bytes, token: str) -> None:
        super().__init__(_Handler)
        self.record: Any = record
        self.record_text: bytes | None = None
        self.data = data
        self.token = token
        self.tokens_last_requests = 1_000_000
        self.chunked = False
        self.breaks: list[int] = []
        self.statuses: dict[str, int] = {}
        self.redirect_to: str | None = None
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(LocalHandler):
    owner: RemoteRegion

    def do_HEAD(self) -> None:
        self._end(405)

    def do_GET(self) -> None:
        region = self.owner
        region.requests.append((self.command, self.path))
        region.tokens.append(self.headers.get("x-auth-token"))
        what = "file" if self.path.endswith("/file") else "record"
        if region.redirect_to is not None:
            return self._end(302, {"Location": region.redirect_to + self.path})
        if region.tokens[-1] != region.token or len(region.requests) > region.tokens_last_requests:
            return self._end(401)
        if what in region.statuses:
            return self._end(region.statuses[what])
        if what == "record":
            text = json.dumps(region.record).encode() if region.record_text is None else region.record_text
            return self._send(200, text, {"Content-Type": "application/json"})
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if found is None:
            return self._send(200, region.data, {}, chunked=region.chunked)
        first, size = int(found[1]), len(region.data)
        return self._send(206, region.data[first:], {"Content-Range": f"bytes {first}-{size - 1}/{size}"})

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.begin(status, {"Content-Length": "0", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, chunked: bool = False) -> None:
        most = self.owner.breaks.pop(0) if self.owner.breaks else None
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
        self.begin(status, {**framing, **headers})
        with suppress(OSError):
            if chunked and body:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            elif not chunked:
                self.wfile.write(body[:most])
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        # Behind a whole answer the client may send its next question before it sees the end of the connection.
        self.close_connection = self.close_connection or (most is not None and most < len(body))
