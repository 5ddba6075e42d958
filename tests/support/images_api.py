"""A small client of the Images API for tests: logs in by password, and shows every answer as it came."""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx


class ImagesApi:
    """One user at one server; use it in a `with`. `http` takes any further request, with paths such as `/v2/images`."""

    def __init__(self, url: str, auth: dict[str, Any] | None, verify: ssl.SSLContext | bool = True) -> None:
        """`auth` is the auth section of a cloud in clouds.yaml; None for a server that asks nobody who he is.

        httpx.HTTPStatusError when the log-in is refused.
        """
        self.http = httpx.Client(base_url=url, timeout=120, trust_env=False, verify=verify)
        self.token = ""
        self.project_id = ""
        if auth is not None:
            self._log_in(auth)

    def _log_in(self, auth: dict[str, Any]) -> None:
        identity = {
            "methods": ["password"],
            "password": {
                "user": {
                    "name": auth["username"],
                    "domain": {"name": auth.get("user_domain_name", "Default")},
                    "password": auth["password"],
                }
            },
        }
        scope = {
            "project": {
                "name": auth["project_name"],
                "domain": {"name": auth.get("project_domain_name", "Default")},
            }
        }
        login = self.http.post(f"{auth['auth_url']}/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
        login.raise_for_status()
        self.token = login.headers["x-subject-token"]
        self.project_id = login.json()["token"]["project"]["id"]
        self.http.headers["X-Auth-Token"] = self.token

    def create(self, **attributes: Any) -> dict[str, Any]:
        """A new queued image."""
        return self._record(self.http.post("/v2/images", json=attributes))

    def show(self, image_id: str) -> dict[str, Any]:
        return self._record(self.http.get(f"/v2/images/{image_id}"))

    def upload(self, image_id: str, path: Path) -> httpx.Response:
        """The answer to the upload of a file, good or bad."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        with path.open("rb") as file:
            return self.http.put(f"/v2/images/{image_id}/file", content=file, headers=headers)

    def download(self, image_id: str, path: Path) -> Path:
        """The data of an image, written to a file."""
        with self.http.stream("GET", f"/v2/images/{image_id}/file") as answer:
            answer.raise_for_status()
            with path.open("wb") as file:
                for part in answer.iter_bytes():
                    file.write(part)
        return path

    def delete(self, image_id: str) -> None:
        self.http.delete(f"/v2/images/{image_id}").raise_for_status()

    @staticmethod
    def _record(answer: httpx.Response) -> dict[str, Any]:
        answer.raise_for_status()
        record: dict[str, Any] = answer.json()
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
