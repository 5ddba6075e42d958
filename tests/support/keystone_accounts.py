"""Who there is in the Keystone of the tests, and how a new one is filled."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.keystone_api import KeystoneApi

REGION = "RegionOne"
DOMAIN_ID = "default"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the domain Default: roles in a project, and roles on the whole system."""

    project: str | None
    roles: tuple[str, ...] = ()
    system_roles: tuple[str, ...] = ()


ACCOUNTS: Mapping[str, Account] = {
    "admin": Account("admin", ("admin",), ("admin",)),
    # The image service itself; a reader of the system, because it asks for limits.
    "glance": Account("service", ("admin", "service"), ("reader",)),
    # Another service that calls in a user's name, with no rights of its own.
    "nova": Account("service", ("service",)),
    "demo": Account("demo", ("member",)),
    "demo-two": Account("demo", ("member",)),
    "demo-reader": Account("demo", ("reader",)),
    "alt": Account("alt", ("member",)),
    "alt-reader": Account("alt", ("reader",)),
    "sysreader": Account(None, (), ("reader",)),
    # For whoever has to change what a user may do without disturbing the others.
    "spare": Account("spare", ("member",)),
}
"""By name. All have the one password of their Keystone. `admin` is an admin of the domain Default too."""


def fill(api: KeystoneApi, password: str, image_url: str) -> None:
    """Makes the accounts and the image service in a Keystone that has just been bootstrapped."""
    roles = {role["name"]: role["id"] for role in api.list("roles")}
    for name in ("admin", "member", "reader", "service"):
        roles.setdefault(name, "") or roles.update({name: api.create("role", name=name)["id"]})
    projects = {project["name"]: project["id"] for project in api.list("projects")}
    users = {user["name"]: user["id"] for user in api.list("users")}
    for name, account in ACCOUNTS.items():
        if name not in users:
            users[name] = api.create("user", name=name, password=password, domain_id=DOMAIN_ID)["id"]
        if account.project and account.project not in projects:
            projects[account.project] = api.create("project", name=account.project, domain_id=DOMAIN_ID)["id"]
        for role in account.roles:
            api.put(f"/projects/{projects[account.project or '']}/users/{users[name]}/roles/{roles[role]}")
        for role in account.system_roles:
            api.put(f"/system/users/{users[name]}/roles/{roles[role]}")
    api.put(f"/domains/{DOMAIN_ID}/users/{users['admin']}/roles/{roles['admin']}")
    service_id = api.create("service", name="glance", type="image")["id"]
    for interface in ("public", "internal", "admin"):
        api.create("endpoint", service_id=service_id, interface=interface, url=image_url, region_id=REGION)
