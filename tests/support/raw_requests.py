"""Requests of any bytes to the application in this process, past clients that would mend or refuse them."""

import html
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from tests.support.callers import HEADERS

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are in lower case; of a repeated header the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def says_why_not(self) -> bool:
        """Whether this is a 4xx in one of the three customary shapes."""
        kind = self.headers.get("content-type")
        if not 400 <= self.status < 500:
            return False
        text = self.body.decode("utf-8")
        match kind:
            case "text/plain; charset=UTF-8":
                return text.startswith(f"{self.status} ")
            case "text/html; charset=UTF-8":
                start = f"<html>\n <head>\n  <title>{self.status} "
                return text.startswith(start) and text.endswith("\n </body>\n</html>") and html.unescape(text) != ""
            case "application/json":
                document = json.loads(text)
                strings = all(isinstance(value, str) for value in document.values())
                return strings and document.keys() == {"message", "code", "title"}
            case _:
                return False


@dataclass(frozen=True)
class RawClient:
    """Sends what it is told. `records` is where the service's log lines arrive."""

    app: ASGIApp
    records: list[logging.LogRecord]

    async def ask(self, who: str, method: str, target: bytes, headers: Headers = (), body: bytes = b"") -> Answer:
        """One request as one of the callers. `target` is the path, percent-encoded or not, and the query."""
        path, _, query = target.partition(b"?")
        caller = [(name.encode(), value.encode()) for name, value in HEADERS[who].items()]
        length = [(b"content-length", b"%d" % len(body))] if body else []
        sent = [{"type": "http.request", "body": body, "more_body": False}]
        received: list[Message] = []

        async def receive() -> Message:
            return sent.pop() if sent else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            received.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            # As the server makes it of the request line (blick.http.server.head).
            "path": unquote(path.decode("latin-1"), errors="surrogateescape"),
            "raw_path": path,
            "root_path": "",
            "query_string": query,
            "headers": [(b"host", b"images.test"), *caller, *length, *headers],
            "client": ("127.0.0.1", 40_000),
            "server": ("images.test", 80),
        }
        await self.app(scope, receive, send)
        start, *rest = received
        return Answer(
            start["status"],
            {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in rest),
        )

    async def ask_well(self, who: str, method: str, target: bytes, headers: Headers = (), body: bytes = b"") -> Answer:
        """The same, for requests that no service may fail on: the answer is a good one or says why not, and nothing
        is logged that an operator would have to look at."""
        self.records.clear()
        answer = await self.ask(who, method, target, headers, body)
        shown = (method, target[:300], body[:300], answer)
        assert answer.status < 400 or answer.says_why_not, shown
        trouble = [record.getMessage() for record in self.records if record.levelno >= logging.ERROR]
        assert not trouble, (shown, trouble)
        return answer
