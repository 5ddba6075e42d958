"""Where tokens come from: given by the operator, or from a Keystone with the usual OS_ variables."""

import json
from collections.abc import Mapping
from typing import Any

import urllib3

from blick.cli.replication.trouble import unreachable
from blick.model.errors import SourceDenied, SourceError, StartRefused

# Some deployments set the versioned address, others the bare one.
_VERSION = "/v3"


class GivenToken:
    """A token that the operator gave, or none at all."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def token(self) -> str | None:
        """The token to send."""
        return self._token

    def renew(self) -> bool:
        """Get another one. False: there is none to be had."""
        return False


class Login(GivenToken):
    """Logs in when the first token is wanted, and again when one has expired."""

    def __init__(self, http: urllib3.PoolManager, environment: Mapping[str, str]) -> None:
        """`environment` has OS_AUTH_URL. Raises StartRefused where something to log in with is missing."""
        super().__init__(None)
        self._http = http
        self._url = environment["OS_AUTH_URL"].rstrip("/").removesuffix(_VERSION) + _VERSION + "/auth/tokens"
        self._body = json.dumps({"auth": _request(environment)}).encode()

    def token(self) -> str | None:
        """The token to send. Raises SourceDenied, SourceUnavailable or SourceError."""
        if self._token is None:
            self.renew()
        return self._token

    def renew(self) -> bool:
        """Log in again. Raises like `token`."""
        try:
            answer = self._http.request(
                "POST", self._url, body=self._body, headers={"Content-Type": "application/json"}, retries=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(self._url, error) from error
        if answer.status == 401:
            raise SourceDenied(f"{self._url} refuses the log-in: check user, password, project and domains.")
        token = answer.headers.get("x-subject-token")
        if answer.status != 201 or not token:
            raise SourceError(f"{self._url} is not a Keystone's address: it answered with {answer.status}.")
        self._token = token
        return True


def surroundings(environment: Mapping[str, str], side: str) -> dict[str, str]:
    """The OS_ variables that count for one side: those of SOURCE_OS_ or TARGET_OS_ if it has its own, else OS_."""
    prefix = f"{side.upper()}_"
    own = {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(f"{prefix}OS_")}
    shared = {name: value for name, value in environment.items() if name.startswith("OS_")}
    return {name: value for name, value in (own or shared).items() if value}


def tokens_for(given: str | None, environment: Mapping[str, str], http: urllib3.PoolManager) -> GivenToken:
    """Tokens by the operator's word, else by OS_TOKEN, else by logging in; without any of them, none are sent.

    Raises StartRefused where something to log in with is missing.
    """
    token = given or environment.get("OS_TOKEN")
    if token or "OS_AUTH_URL" not in environment:
        return GivenToken(token or None)
    return Login(http, environment)


def _request(environment: Mapping[str, str]) -> dict[str, Any]:
    if environment.get("OS_APPLICATION_CREDENTIAL_SECRET"):
        return {"identity": {"methods": ["application_credential"], "application_credential": _credential(environment)}}
    password = environment.get("OS_PASSWORD")
    if password is None:
        raise StartRefused("OS_AUTH_URL is set, but neither OS_PASSWORD nor an application credential.")
    user = {**_named(environment, "USER", "OS_USERNAME"), "password": password}
    return {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": _scope(environment)}


def _credential(environment: Mapping[str, str]) -> dict[str, Any]:
    secret = environment["OS_APPLICATION_CREDENTIAL_SECRET"]
    if found := environment.get("OS_APPLICATION_CREDENTIAL_ID"):
        return {"id": found, "secret": secret}
    name = environment.get("OS_APPLICATION_CREDENTIAL_NAME")
    if name is None:
        raise StartRefused("OS_APPLICATION_CREDENTIAL_ID is not set.")
    return {"name": name, "secret": secret, "user": _named(environment, "USER", "OS_USERNAME")}


def _scope(environment: Mapping[str, str]) -> dict[str, Any]:
    if environment.get("OS_SYSTEM_SCOPE") == "all":
        return {"system": {"all": True}}
    return {"project": _named(environment, "PROJECT", "OS_PROJECT_NAME")}


def _named(environment: Mapping[str, str], kind: str, name_variable: str) -> dict[str, Any]:
    """A user or a project: by its id, or by its name within a domain."""
    if found := environment.get(f"OS_{kind}_ID"):
        return {"id": found}
    name = environment.get(name_variable)
    if name is None:
        raise StartRefused(f"OS_AUTH_URL is set, but neither {name_variable} nor OS_{kind}_ID.")
    if domain := environment.get(f"OS_{kind}_DOMAIN_ID"):
        return {"name": name, "domain": {"id": domain}}
    domain = environment.get(f"OS_{kind}_DOMAIN_NAME")
    return {"name": name, "domain": {"name": domain} if domain else {"id": "default"}}
