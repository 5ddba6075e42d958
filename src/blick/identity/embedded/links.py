"""Where this service is, as the client that asks can reach it."""

import re

from starlette.requests import Request

PREFIX = "/identity"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)


class Links:
    """Addresses for documents: from `public_endpoint` where the operator set it, else from the request itself."""

    def __init__(self, public_endpoint: str | None) -> None:
        self._public = public_endpoint.rstrip("/") if public_endpoint else None

    def image(self, request: Request) -> str:
        """Root of the Images API, without a slash at the end."""
        if self._public:
            return self._public
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            server = request.scope.get("server") or ("localhost", None)
            name = f"[{server[0]}]" if ":" in server[0] else server[0]
            host = f"{name}:{server[1]}" if server[1] else name
        return f"{request.url.scheme}://{host}"

    def identity(self, request: Request) -> str:
        """Root of the identity API, without version and slash."""
        return self.image(request) + PREFIX

    def v3(self, request: Request, path: str = "") -> str:
        """An address below /v3."""
        return f"{self.identity(request)}/v3{path}"
