"""What proxies say."""

from typing import Any

import pytest

from blick.http.forwarded import as_client_saw_it
from blick.http.request import base_url


def scope(**headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "scheme": "http", "headers": [(b"host", b"inner:9292"), *named], "root_path": ""}


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({}, "http://inner:9292"),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "images.example"}, "https://images.example"),
        ({"x_forwarded_proto": "https, http", "x_forwarded_host": "a.example, b.example"}, "https://a.example"),
        ({"x_forwarded_host": "a.example:443", "x_forwarded_proto": "https"}, "https://a.example"),
        ({"x_forwarded_prefix": "/image/"}, "http://inner:9292/image"),
        ({"forwarded": 'for=1.2.3.4;proto=https;host="images.example", for=5.6.7.8'}, "https://images.example"),
        ({"x_forwarded_proto": "gopher"}, "http://inner:9292"),
    ],
)
def test_links_follow_the_proxy(headers: dict[str, str], seen: str) -> None:
    assert base_url(as_client_saw_it(scope(**headers))) == seen
