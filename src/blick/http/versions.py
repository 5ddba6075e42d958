"""Which versions of the API there are, and which of them a request means (spec: images-api §2)."""

import re
from dataclasses import dataclass
from typing import Any

_MEDIA_TYPE = re.compile(r"application/vnd\.openstack\.images-(v\d+(?:\.\d+)?)")

_ALWAYS = ("v2", "v2.0", "v2.1", "v2.2", "v2.3", "v2.4", "v2.5", "v2.6", "v2.7", "v2.9", "v2.15", "v2.17")
_WITH_CACHE = ("v2.14", "v2.16", "v2.18")
_WITH_MULTI_STORE = ("v2.8", "v2.10", "v2.11", "v2.12", "v2.13")


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of one deployment."""

    has_cache: bool
    multi_store: bool

    def listed(self) -> list[tuple[str, str]]:
        """(id, status) in the order of the version document."""
        first = ["v2.18", "v2.17", "v2.16", "v2.15", "v2.14"] if self.has_cache else ["v2.15"]
        middle = ["v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8"] if self.multi_store else ["v2.9"]
        last = [] if self.has_cache else ["v2.17"]
        rest = [f"v2.{minor}" for minor in range(7, -1, -1)]
        current = "v2.18" if self.has_cache else "v2.17"
        ids = [*first, *middle, *last, *rest]
        return [(name, "CURRENT" if name == current else "SUPPORTED") for name in ids]

    def accepts(self, segment: str) -> bool:
        """May a path begin with that segment?"""
        return (
            segment in _ALWAYS
            or (self.has_cache and segment in _WITH_CACHE)
            or (self.multi_store and segment in _WITH_MULTI_STORE)
        )

    def document(self, base_url: str) -> dict[str, Any]:
        """What `/` and `/versions` answer; `base_url` has no trailing slash."""
        links = [{"rel": "self", "href": f"{base_url}/v2/"}]
        return {"versions": [{"id": name, "status": status, "links": links} for name, status in self.listed()]}

    def rest_of(self, path: str, accept: str) -> str | None:
        """The part of `path` behind the version, beginning with `/`; None if the request means no version of ours.

        A version named in `Accept` stands for the one in the path, which then has none.
        """
        wanted = _MEDIA_TYPE.search(accept)
        if wanted is not None:
            return path if self.accepts(wanted.group(1)) else None
        _, _, trimmed = path.partition("/")
        segment, _, rest = trimmed.partition("/")
        return f"/{rest}" if self.accepts(segment) else None
