"""What a restricted application credential may be used for (spec: security §3)."""

import re
from functools import lru_cache

from blick.identity.keystone.token import Token

# `**` reaches over slashes; `*` and `{anything}` stand for one segment or a part of it.
_WILD = re.compile(r"\*\*|\*|\{[^}]*\}")


def allows(token: Token, service_type: str | None, method: str, path: str) -> bool:
    """May a token be used for this request to a service of our type?

    A restricted token may not be used at all where our type is not known, or the token's catalog lacks it.
    """
    if token.access_rules is None:
        return True
    if service_type is None or (token.service_types is not None and service_type not in token.service_types):
        return False
    return any(
        rule.service == service_type and rule.method == method and _pattern(rule.path).fullmatch(path) is not None
        for rule in token.access_rules
    )


@lru_cache(maxsize=1024)
def _pattern(path: str) -> re.Pattern[str]:
    parts: list[str] = []
    end = 0
    for wild in _WILD.finditer(path):
        parts += [re.escape(path[end : wild.start()]), ".*" if wild[0] == "**" else "[^/]+"]
        end = wild.end()
    return re.compile("".join([*parts, re.escape(path[end:])]), re.DOTALL)
