"""A small client of Keystone's v3 API for tests: plain requests and answers."""

from typing import Any, Self

import httpx

Record = dict[str, Any]


class KeystoneApi:
    """Requests with one token; use it in a `with`. A bad answer is an httpx.HTTPStatusError with its text."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """`url` ends in /v3."""
        self.http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        if token is not None:
            self.http.headers["X-Auth-Token"] = token

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        answer = self.http.request(method, path, json=body, headers=headers)
        if answer.is_error:
            said = f"{method} {path}: {answer.status_code} {answer.text}"
            raise httpx.HTTPStatusError(said, request=answer.request, response=answer)
        return answer

    def token(self, identity: Record, scope: Record | str | None = None) -> httpx.Response:
        """The answer to a log-in; the token is its header X-Subject-Token."""
        auth: Record = {"identity": identity} | ({} if scope is None else {"scope": scope})
        return self.request("POST", "/auth/tokens", {"auth": auth})

    def list(self, nouns: str, **filters: str) -> list[Record]:
        """Records by their plural, such as users."""
        records: list[Record] = self.request("GET", f"/{nouns}?{httpx.QueryParams(filters)}").json()[nouns]
        return records

    def create(self, noun: str, *, under: str = "", **attributes: Any) -> Record:
        """A new record by its singular, such as user; `under` is a path that comes before."""
        record: Record = self.request("POST", f"{under}/{noun}s", {noun: attributes}).json()[noun]
        return record

    def put(self, path: str) -> None:
        self.request("PUT", path)

    def delete(self, path: str) -> None:
        self.request("DELETE", path)

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def password_identity(user: str, password: str) -> Record:
    """How a user of the domain Default logs in."""
    return {
        "methods": ["password"],
        "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}},
    }
