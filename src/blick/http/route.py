"""What the table of routes is made of (blick.http.routes)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from blick.http.request import Request

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """One method of a route.

    `rules` are the policy rules that can refuse it; not named is `get_image` where it only decides between 403 and
    404 (spec: policies §2). `about` says in a few words what it does, `answers` its statuses where all goes well.
    `sends` and `gives` name the shapes of bodies (blick.http.shapes), None where there is none or only text. A body
    that comes although `takes_body` is false is refused; `query` and `headers` name parameters and request headers
    that count (blick.http.shapes).
    """

    handler: Handler
    rules: tuple[str, ...]
    about: str
    answers: tuple[int, ...] = (200,)
    sends: str | None = None
    gives: str | None = None
    query: str | None = None
    headers: str | None = None
    takes_body: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """One path and its methods, in the order of the Allow header.

    Any other method gets 405, or 404 where `is_known_to_others` is false: the customary answer of two old routes.
    """

    path: str
    calls: Mapping[str, Call]
    is_known_to_others: bool = True
