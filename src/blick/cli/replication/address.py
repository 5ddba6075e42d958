"""How an operator names an image service: `host:port` as ever, or a URL."""

import re
from urllib.parse import urlsplit

from blick.model.errors import Invalid

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/@?#\[\]]+):([0-9]{1,5})")
_MOST_PORT = 65535


def service_url(text: str) -> str:
    """The base URL, without `/v2` and without a slash at its end. Raises Invalid."""
    if found := _HOST_AND_PORT.fullmatch(text):
        if not 0 < int(found[2]) <= _MOST_PORT:
            raise Invalid(f"{text}: {found[2]} is not a port.")
        return f"http://{text}"
    try:
        url = urlsplit(text)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or url.query or url.fragment or url.username is not None:
        raise Invalid(f"{text}: name an image service by host:port, or by a URL such as https://images.example.com.")
    path = url.path.rstrip("/").removesuffix("/v2")
    return f"{url.scheme}://{url.netloc}{path}"
