"""Two services of the same API, asked the same, and what they answer compared."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

# Headers that are part of what an answer means; the rest (dates, ids, connection) differs by nature.
COMPARED = frozenset(
    {
        "accept-patch",
        "allow",
        "content-md5",
        "content-range",
        "content-type",
        "location",
        "openstack-image-import-methods",
        "openstack-image-store-ids",
        "www-authenticate",
    }
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+|Z)?")
_HOST = re.compile(r"127\.0\.0\.1:\d+")
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What one of them said; None for `status` where it hung up without a word."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Side:
    """One service, and the ids that it has given to what the tests have names for."""

    url: str
    tokens: Mapping[str, str]
    ids: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """One request on a connection of its own, with names in braces replaced by this side's ids."""
        if self.tokens.get(who):
            headers = {"X-Auth-Token": self.tokens[who], **headers}
        request = httpx.Request(method, self.url, headers=headers, content=self.filled_in(body or b""))
        request.url = request.url.copy_with(raw_path=self.filled_in(path.encode()))
        for unasked in ("accept", "accept-encoding", "user-agent"):
            if unasked not in headers and unasked.title() not in headers:
                request.headers.pop(unasked, None)
        try:
            with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
                answer = client.send(request)
        except httpx.RemoteProtocolError:
            return Answer(None, {}, b"")
        return Answer(answer.status_code, dict(answer.headers), answer.content)

    def filled_in(self, text: bytes) -> bytes:
        for name, image_id in self.ids.items():
            text = text.replace(b"{%s}" % name.encode(), image_id.encode())
        return text

    def normalised(self, text: str) -> str:
        """The text without what differs from service to service: ids, times, addresses."""
        for name, image_id in self.ids.items():
            text = text.replace(image_id, "{" + name + "}")
        return _HOST.sub("HOST", _TIME.sub("TIME", _UUID.sub("UUID", text)))


class Pair:
    """The reference and Blick. Differences are gathered; `verify` fails with all of them."""

    def __init__(self, theirs: Side, ours: Side) -> None:
        self.theirs = theirs
        self.ours = ours
        self.differences: list[str] = []

    def make(self, name: str, document: Mapping[str, Any], who: str = "demo") -> None:
        """Creates an image on both sides, which `{name}` in paths and bodies stands for from here on."""
        for side in (self.theirs, self.ours):
            body = json.dumps(document).encode()
            answer = side.ask(who, "POST", "/v2/images", body, {"Content-Type": "application/json"})
            assert answer.status == 201, answer
            side.ids[name] = json.loads(answer.body)["id"]

    def same(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        who: str = "demo",
        words_count: bool = False,
    ) -> None:
        """Both give the same status, the same headers that matter and, if it is a success, the same body.

        The words of an error count only if told so: they are each service's own.
        """
        theirs, ours = self._ask(method, path, body, headers, who)
        found = []
        if theirs.status != ours.status:
            found.append(f"status {theirs.status}, ours {ours.status}")
        else:
            found += _header_differences(self._headers(self.theirs, theirs), self._headers(self.ours, ours))
            if words_count or (theirs.status or 500) < 400:
                found += self._body_differences(theirs, ours)
        if found:
            said = f"{theirs.body[:300]!r}\n    ours {ours.body[:300]!r}"
            self.differences.append(
                f"{who} {method} {path[:120]} {(body or b'')[:120]!r} {dict(headers or {})}: {'; '.join(found)}"
                f"\n    theirs {said}"
            )

    def differ(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        theirs: int | None,
        ours: int,
        who: str = "demo",
    ) -> None:
        """A fault of the reference that Blick does not share: both statuses are known, None is a broken connection."""
        answers = self._ask(method, path, body, headers, who)
        got = tuple(answer.status for answer in answers)
        if got != (theirs, ours):
            self.differences.append(
                f"{who} {method} {path[:120]} {(body or b'')[:120]!r}: {got} instead of {(theirs, ours)}"
                f"\n    ours {answers[1].body[:300]!r}"
            )

    def verify(self) -> None:
        """Fails if there were differences since the last time."""
        found, self.differences = self.differences, []
        assert not found, "\n".join([f"{len(found)} differences:", *found])

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, who: str
    ) -> tuple[Answer, Answer]:
        sent = headers or {}
        return self.theirs.ask(who, method, path, body, sent), self.ours.ask(who, method, path, body, sent)

    @staticmethod
    def _headers(side: Side, answer: Answer) -> Mapping[str, str]:
        return {name: side.normalised(value) for name, value in answer.headers.items() if name in COMPARED}

    def _body_differences(self, theirs: Answer, ours: Answer) -> list[str]:
        texts = [
            side.normalised(answer.body.decode("utf-8", "replace"))
            for side, answer in ((self.theirs, theirs), (self.ours, ours))
        ]
        documents = [_parsed(text) for text in texts]
        return [] if documents[0] == documents[1] else ["body"]


def _header_differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {theirs.get(name)!r}, ours {ours.get(name)!r}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]


def _parsed(text: str) -> Any:
    """JSON with what has no order in one, or the text."""
    try:
        return _ordered(json.loads(text))
    except ValueError:
        return text


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(key, _ordered(each)) for key, each in value.items()}
    return [_ordered(each) for each in value] if isinstance(value, list) else value


def _sorted(key: str, value: Any) -> Any:
    """An image's tags, which are texts, and lists that the reference leaves to its database; else as it is."""
    if key == "tags" and isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return sorted(value)
    return sorted(value, key=lambda each: str(each["name"])) if key in ("objects", "resource_types") else value
