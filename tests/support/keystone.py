"""A real Keystone for tests: its users, their tokens, and what an image service has to be told about it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.support.keystone_accounts import ACCOUNTS, DOMAIN_ID, REGION
from tests.support.keystone_api import KeystoneApi, Record, password_identity
from tests.support.keystone_server import DATABASE, PASSWORD, TOKEN_TTL_S, KeystoneServer, Options, copy_filled

NO_IMAGE_URL = "http://127.0.0.1:9"
"""The image service's address before anybody has said it: nobody listens there."""

REMOTE_IMAGE = "image_remote"
"""What the catalog calls another node of the image service."""

Scope = Literal["project", "system", "domain", "none"]


@dataclass(frozen=True, slots=True)
class ApplicationCredential:
    """What a program logs in with in place of its user."""

    id: str
    secret: str = field(repr=False)


class Keystone(KeystoneServer):
    """A Keystone with the users of keystone_accounts.ACCOUNTS, from a filled database: a start takes a few seconds.

    Start it in a `with`; state outlives `stop` and `start`. All helpers ask the running server.
    """

    def __init__(
        self,
        folder: Path,
        image_url: str = NO_IMAGE_URL,
        *,
        port: int | None = None,
        token_ttl_s: int = TOKEN_TTL_S,
        options: Options | None = None,
    ) -> None:
        """`image_url` goes into the catalog; `set_image_url` changes it. `options`: further ones of keystone.conf."""
        super().__init__(folder, port=port, token_ttl_s=token_ttl_s, options=options)
        self._image_url = image_url

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / DATABASE).exists():
            copy_filled(self.folder, self.url, self._image_url)
            self.clouds_yaml.write_text(yaml.safe_dump({"clouds": self.clouds()}))
        super().prepare()

    # Clients and services

    @property
    def password(self) -> str:
        """The one password of every account."""
        return (self.folder / PASSWORD).read_text()

    @property
    def clouds_yaml(self) -> Path:
        """A file for the real clients: a cloud for every account, by its name, and `system-admin`."""
        return self.folder / "clouds.yaml"

    def clouds(self) -> dict[str, Record]:
        """What clouds.yaml holds: cloud by name."""
        auths = {name: self.auth(name) for name in ACCOUNTS} | {"system-admin": self.auth("admin", scope="system")}
        return {
            name: {"region_name": REGION, "identity_api_version": "3", "auth": auth} for name, auth in auths.items()
        }

    def auth(self, user: str, scope: Scope | None = None) -> Record:
        """The auth section of a cloud; `scope` None is the account's usual one: its project, or else the system."""
        account = ACCOUNTS[user]
        auth = {
            "auth_url": self.url,
            "username": user,
            "password": self.password,
            "user_domain_name": "Default",
        }
        scope = scope or ("project" if account.project else "system")
        where: Mapping[Scope, Record] = {
            "project": {"project_name": account.project, "project_domain_name": "Default"},
            "system": {"system_scope": "all"},
            "domain": {"domain_name": "Default"},
            "none": {},
        }
        return auth | where[scope]

    def authtoken_options(self, user: str = "glance") -> dict[str, object]:
        """The options of [keystone_authtoken] for an image service."""
        return {"www_authenticate_uri": self.url, "auth_type": "password"} | self.auth(user)

    def limit_options(self) -> dict[str, object]:
        """The options of [oslo_limit] for an image service."""
        endpoint = {"endpoint_id": self.image_endpoint_id()}
        return {"auth_type": "password"} | self.auth("glance", scope="system") | endpoint

    # Tokens

    def token(self, user: str, scope: Scope | None = None) -> str:
        """A fresh token; `scope` None is the account's usual one: its project, or else the system."""
        return self.token_record(user, scope)[0]

    def token_record(self, user: str, scope: Scope | None = None) -> tuple[str, Record]:
        """A fresh token, and what Keystone says about it: user, project, roles, expires_at …"""
        with KeystoneApi(self.url) as api:
            answer = api.token(password_identity(user, self.password), self._scope(user, scope))
            return answer.headers["X-Subject-Token"], answer.json()["token"]

    def revoke(self, token: str) -> None:
        """Makes a token invalid at once. Keystone refuses that for one of a credential with access rules."""
        with self.admin() as api:
            api.request("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    def application_credential(
        self, user: str, access_rules: Sequence[Mapping[str, str]] = (), **attributes: Any
    ) -> ApplicationCredential:
        """A new one of this user in its project.

        An access rule says `service`, `method` and `path`; without any rule all is allowed. `attributes` are further
        ones of the API: roles, unrestricted, expires_at.
        """
        token, record = self.token_record(user)
        name = f"credential-{len(self._credentials_of(token, record['user']['id']))}"
        rules = {"access_rules": [dict(rule) for rule in access_rules]} if access_rules else {}
        with KeystoneApi(self.url, token) as api:
            under = f"/users/{record['user']['id']}"
            made = api.create("application_credential", under=under, name=name, **rules, **attributes)
        return ApplicationCredential(made["id"], made["secret"])

    def credential_token(self, credential: ApplicationCredential) -> str:
        """A fresh token of an application credential."""
        identity = {
            "methods": ["application_credential"],
            "application_credential": {"id": credential.id, "secret": credential.secret},
        }
        with KeystoneApi(self.url) as api:
            return str(api.token(identity).headers["X-Subject-Token"])

    # What an operator does

    @contextmanager
    def admin(self) -> Iterator[KeystoneApi]:
        """Requests with a fresh token of admin in its project."""
        with KeystoneApi(self.url, self.token("admin")) as api:
            yield api

    def user_id(self, name: str) -> str:
        return self._id_of("users", name)

    def project_id(self, name: str) -> str:
        return self._id_of("projects", name)

    def image_endpoint_id(self, interface: str = "public") -> str:
        """The id of the image service's endpoint; AssertionError when there is not exactly one."""
        with self.admin() as api:
            [endpoint] = api.list("endpoints", service_id=self._image_service_id(api), interface=interface)
        return str(endpoint["id"])

    def set_image_url(self, url: str) -> None:
        """Tells the catalog where the image service is."""
        with self.admin() as api:
            for endpoint in api.list("endpoints", service_id=self._image_service_id(api)):
                api.request("PATCH", f"/endpoints/{endpoint['id']}", {"endpoint": {"url": url}})
        self._image_url = url

    def set_remote_image_url(self, url: str) -> None:
        """Tells the catalog of a second image service, of the type image_remote: another node of the same one."""
        with self.admin() as api:
            known = api.list("services", type=REMOTE_IMAGE)
            service = known[0] if known else api.create("service", name="glance_remote", type=REMOTE_IMAGE)
            for endpoint in api.list("endpoints", service_id=service["id"]):
                api.delete(f"/endpoints/{endpoint['id']}")
            for interface in ("public", "internal", "admin"):
                api.create("endpoint", service_id=service["id"], interface=interface, url=url, region_id=REGION)

    def register_limits(self, limits: Mapping[str, int]) -> None:
        """The image service's limits for every project, by resource (image_count_total …). Replaces old ones."""
        with self.admin() as api:
            service_id = self._image_service_id(api)
            known = {limit["resource_name"]: limit["id"] for limit in api.list("registered_limits")}
            for resource, default in limits.items():
                if resource in known:
                    body = {"registered_limit": {"default_limit": default}}
                    api.request("PATCH", f"/registered_limits/{known[resource]}", body)
                else:
                    self._add_limit(api, "registered_limit", service_id, resource, default_limit=default)

    def set_project_limits(self, project: str, limits: Mapping[str, int]) -> None:
        """A project's own limits, each of a registered one. Replaces old ones."""
        with self.admin() as api:
            service_id, project_id = self._image_service_id(api), self.project_id(project)
            for known in api.list("limits", project_id=project_id):
                if known["resource_name"] in limits:
                    api.delete(f"/limits/{known['id']}")
            for resource, limit in limits.items():
                self._add_limit(api, "limit", service_id, resource, project_id=project_id, resource_limit=limit)

    def clear_limits(self) -> None:
        """Removes every limit, the projects' first: a registered one cannot go before them."""
        with self.admin() as api:
            for nouns in ("limits", "registered_limits"):
                for limit in api.list(nouns):
                    api.delete(f"/{nouns}/{limit['id']}")

    def _scope(self, user: str, scope: Scope | None) -> Record | str | None:
        account = ACCOUNTS[user]
        scope = scope or ("project" if account.project else "system")
        scopes: Mapping[Scope, Record | str] = {
            "project": {"project": {"name": account.project, "domain": {"id": DOMAIN_ID}}},
            "system": {"system": {"all": True}},
            "domain": {"domain": {"id": DOMAIN_ID}},
            "none": "unscoped",
        }
        return scopes[scope]

    def _id_of(self, nouns: str, name: str) -> str:
        with self.admin() as api:
            [record] = api.list(nouns, name=name)
        return str(record["id"])

    def _credentials_of(self, token: str, user_id: str) -> list[Record]:
        with KeystoneApi(self.url, token) as api:
            answer = api.request("GET", f"/users/{user_id}/application_credentials").json()
        records: list[Record] = answer["application_credentials"]
        return records

    @staticmethod
    def _image_service_id(api: KeystoneApi) -> str:
        [service] = api.list("services", type="image")
        return str(service["id"])

    @staticmethod
    def _add_limit(api: KeystoneApi, noun: str, service_id: str, resource: str, **values: Any) -> None:
        limit = {"service_id": service_id, "region_id": REGION, "resource_name": resource, **values}
        api.request("POST", f"/{noun}s", {f"{noun}s": [limit]})
