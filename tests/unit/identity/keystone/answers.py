"""What a Keystone answers about tokens."""

import json
from typing import Any

EXPIRES_AT_S = 1_900_000_000  # 2030-03-17T17:46:40Z
EXPIRES_AT = "2030-03-17T17:46:40.000000Z"
CATALOG = [
    {
        "id": "c1",
        "type": "image",
        "name": "glance",
        "endpoints": [{"id": "e1", "interface": "public", "region": "R", "region_id": "R", "url": "http://i"}],
    }
]


def answer(**changes: Any) -> bytes:
    """A token of user u in project p; `changes` replace parts, None leaves a part out."""
    domain = {"id": "default", "name": "Default"}
    token: dict[str, Any] = {
        "methods": ["password"],
        "expires_at": EXPIRES_AT,
        "issued_at": "2026-01-01T00:00:00.000000Z",
        "audit_ids": ["a"],
        "user": {"id": "u", "name": "U", "domain": domain, "password_expires_at": None},
        "project": {"id": "p", "name": "P", "domain": domain},
        "is_domain": False,
        "roles": [{"id": "1", "name": "Member"}, {"id": "2", "name": "reader"}],
        "catalog": CATALOG,
        **changes,
    }
    return json.dumps({"token": {name: part for name, part in token.items() if part is not None}}).encode()
