"""A Keystone with a counting proxy in front of it, and image services that ask it about tokens."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.config_file import configured_server
from tests.support.keystone import Keystone
from tests.support.reverse_proxy import ReverseProxy
from tests.support.server import BlickServer

VALIDATION = ("GET", "/v3/auth/tokens")


@dataclass(frozen=True)
class KeystoneCloud:
    """Whoever asks at `root` goes through `proxy`; so does whoever follows the catalog."""

    keystone: Keystone
    proxy: ReverseProxy
    root: str

    @property
    def url(self) -> str:
        """What services call auth_url."""
        return f"{self.root}/v3"

    @property
    def validations(self) -> int:
        """How often somebody asked about a token."""
        return self.proxy.counts[VALIDATION]

    def authtoken_options(self, **changes: object) -> dict[str, object]:
        """The options of [keystone_authtoken] for an image service."""
        public = {"auth_url": self.url, "www_authenticate_uri": "https://identity.example.com/v3"}
        return self.keystone.authtoken_options() | public | changes

    def image_service(
        self, folder: Path, groups: Mapping[str, Mapping[str, object]] | None = None, **authtoken: object
    ) -> BlickServer:
        """A server with flavor keystone, not started yet; `authtoken` changes options of [keystone_authtoken]."""
        usual: dict[str, Mapping[str, Any]] = {
            "paste_deploy": {"flavor": "keystone"},
            "keystone_authtoken": self.authtoken_options(**authtoken),
        }
        return configured_server(folder, usual | dict(groups or {}))


@contextmanager
def keystone_cloud(
    folder: Path, token_ttl_s: int = 4 * 3600, tls: ssl.SSLContext | None = None
) -> Iterator[KeystoneCloud]:
    """A new Keystone of its own, running. With `tls`, whose certificate is for localhost, it is reached by that."""
    with ReverseProxy(tls=tls) as proxy:
        root = f"http://{proxy.address}" if tls is None else f"https://localhost:{proxy.port}"
        public = {"DEFAULT": {"public_endpoint": root}}
        with Keystone(folder, token_ttl_s=token_ttl_s, options=public) as keystone:
            proxy.target = keystone.address
            cloud = KeystoneCloud(keystone, proxy, root)
            with keystone.admin() as api:
                [service] = api.list("services", type="identity")
                for endpoint in api.list("endpoints", service_id=service["id"]):
                    api.request("PATCH", f"/endpoints/{endpoint['id']}", {"endpoint": {"url": cloud.url}})
            yield cloud
