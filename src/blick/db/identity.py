"""Users, projects, roles, role assignments and application credentials of the embedded identity.

Every function runs inside the caller's transaction. Times are milliseconds since 1970; ids are given by the caller.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, delete, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.identity_tables import (
    application_credential_roles,
    application_credentials,
    assignments,
    projects,
    roles,
    users,
)
from blick.model.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class User:
    """One account. A token is good only while it carries the user's present `generation`."""

    id: str
    name: str
    password_hash: str
    enabled: bool
    created_ms: int
    email: str | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Project:
    """What images belong to."""

    id: str
    name: str
    enabled: bool
    created_ms: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """A name that policies ask for. Always lower case."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """User holds role on project."""

    user: User
    project: Project
    role: Role


@dataclass(frozen=True, slots=True)
class ApplicationCredential:
    """A second secret of a user, for one project and some of the user's roles there."""

    id: str
    user_id: str
    project_id: str
    name: str
    secret_hash: str
    role_ids: tuple[str, ...]
    created_ms: int
    description: str | None = None
    unrestricted: bool = False
    expires_ms: int | None = None


# Who holds the first may do what the others may, as in Keystone's default roles.
IMPLIED_ROLES = {
    "admin": frozenset({"manager", "member", "reader"}),
    "manager": frozenset({"member", "reader"}),
    "member": frozenset({"reader"}),
}


def tables_exist(connection: Connection) -> bool:
    """Has this database been prepared for the embedded identity?"""
    return inspect(connection).has_table(users.name)


def insert_first(
    connection: Connection,
    new_roles: Iterable[Role],
    accounts: Iterable[tuple[User, Project, str]],
    before_commit: Callable[[], None],
) -> bool:
    """Fill a database without users: the roles, and each user with that role on that project.

    Roles and projects whose names are there already are kept. False where another process was faster.
    `before_commit` runs when everything is inserted and before anybody can see it, once per try.
    """
    if connection.execute(select(users.c.id).limit(1)).first():
        return False
    role_ids = {role.name: role.id for role in list_roles(connection)}
    for role in new_roles:
        if role.name not in role_ids:
            insert_role(connection, role)
            role_ids[role.name] = role.id
    for user, project, role_name in accounts:
        there = project_named(connection, project.name)
        if there is None:
            insert_project(connection, project)
        insert_user(connection, user)
        project_id = (there or project).id
        add_role(connection, user_id=user.id, project_id=project_id, role_id=role_ids[role_name])
    before_commit()
    return True


def insert_first_roles(connection: Connection, new_roles: Iterable[Role]) -> None:
    """Fill a database without roles; with any, nothing is done. Raises Conflict where another process was faster."""
    if connection.execute(select(roles.c.id).limit(1)).first() is None:
        for role in new_roles:
            insert_role(connection, role)


# -- users -------------------------------------------------------------------------------------------------------


def insert_user(connection: Connection, user: User) -> None:
    """Raises Conflict where the name is taken."""
    _insert(connection, users, _columns(user), f"There is a user called {user.name} already.")


def insert_user_with_role(connection: Connection, user: User, *, project_id: str, role_id: str) -> None:
    """The user and a first role, or neither. Raises Conflict where the name is taken."""
    insert_user(connection, user)
    add_role(connection, user_id=user.id, project_id=project_id, role_id=role_id)


def user(connection: Connection, user_id: str) -> User | None:
    return _user(connection, select(users).where(users.c.id == user_id))


def user_named(connection: Connection, name: str) -> User | None:
    return _user(connection, select(users).where(users.c.name == name))


def find_user(connection: Connection, name_or_id: str) -> User:
    """By id, else by name. Raises NotFound."""
    found = user(connection, name_or_id) or user_named(connection, name_or_id)
    if found is None:
        raise NotFound(f"There is no user {name_or_id}.")
    return found


def list_users(connection: Connection) -> list[User]:
    """All users by name."""
    rows = connection.execute(select(users).order_by(users.c.name)).mappings()
    return [_as_user(row) for row in rows]


def set_user(connection: Connection, user_id: str, *, enabled: bool | None = None, email: str | None = None) -> None:
    """Change what is not None. Disabling revokes every token of the user. Raises NotFound."""
    values: dict[str, Any] = {}
    if email is not None:
        values["email"] = email or None
    if enabled is not None:
        values["enabled"] = enabled
        if not enabled:
            values["generation"] = users.c.generation + 1
    if values:
        _update_user(connection, user_id, values)


def set_password(connection: Connection, user_id: str, password_hash: str) -> None:
    """Also revokes every token of the user. Raises NotFound."""
    values = {"password_hash": password_hash, "generation": users.c.generation + 1}
    _update_user(connection, user_id, values)


def revoke_tokens(connection: Connection, user_id: str) -> None:
    """Every token issued to the user so far is void. Raises NotFound."""
    _update_user(connection, user_id, {"generation": users.c.generation + 1})


def delete_user(connection: Connection, user_id: str) -> None:
    """With assignments and application credentials; images are not touched. Raises NotFound."""
    _delete_application_credentials(connection, application_credentials.c.user_id == user_id)
    connection.execute(delete(assignments).where(assignments.c.user_id == user_id))
    _require(connection.execute(delete(users).where(users.c.id == user_id)).rowcount, "user", user_id)


# -- projects ----------------------------------------------------------------------------------------------------


def insert_project(connection: Connection, project: Project) -> None:
    """Raises Conflict where the name is taken."""
    _insert(connection, projects, _columns(project), f"There is a project called {project.name} already.")


def project(connection: Connection, project_id: str) -> Project | None:
    return _project(connection, select(projects).where(projects.c.id == project_id))


def project_named(connection: Connection, name: str) -> Project | None:
    return _project(connection, select(projects).where(projects.c.name == name))


def find_project(connection: Connection, name_or_id: str) -> Project:
    """By id, else by name. Raises NotFound."""
    found = project(connection, name_or_id) or project_named(connection, name_or_id)
    if found is None:
        raise NotFound(f"There is no project {name_or_id}.")
    return found


def list_projects(connection: Connection) -> list[Project]:
    """All projects by name."""
    rows = connection.execute(select(projects).order_by(projects.c.name)).mappings()
    return [_as_project(row) for row in rows]


def projects_of(connection: Connection, user_id: str) -> list[Project]:
    """Projects, by name, on which the user holds any role. Disabled ones are among them."""
    held = select(assignments.c.project_id).where(assignments.c.user_id == user_id)
    rows = connection.execute(select(projects).where(projects.c.id.in_(held)).order_by(projects.c.name)).mappings()
    return [_as_project(row) for row in rows]


def set_project(
    connection: Connection,
    project_id: str,
    *,
    enabled: bool | None = None,
    description: str | None = None,
    name: str | None = None,
) -> None:
    """Change what is not None. Raises NotFound, and Conflict where the new name is taken."""
    wanted = {"enabled": enabled, "description": description, "name": name}
    values = {key: value for key, value in wanted.items() if value is not None}
    if project(connection, project_id) is None:
        raise NotFound(f"There is no project {project_id}.")
    if not values:
        return
    try:
        connection.execute(update(projects).where(projects.c.id == project_id).values(values))
    except IntegrityError as error:
        raise Conflict(f"There is a project called {name} already.") from error


def delete_project(connection: Connection, project_id: str) -> None:
    """With assignments and application credentials on it; images are not touched. Raises NotFound."""
    _delete_application_credentials(connection, application_credentials.c.project_id == project_id)
    connection.execute(delete(assignments).where(assignments.c.project_id == project_id))
    _require(connection.execute(delete(projects).where(projects.c.id == project_id)).rowcount, "project", project_id)


# -- roles and who holds them ------------------------------------------------------------------------------------


def insert_role(connection: Connection, role: Role) -> None:
    """Raises Conflict where the name is taken."""
    _insert(connection, roles, _columns(role), f"There is a role called {role.name} already.")


def role(connection: Connection, role_id: str) -> Role | None:
    row = connection.execute(select(roles).where(roles.c.id == role_id)).mappings().first()
    return Role(**row) if row else None


def find_role(connection: Connection, name_or_id: str) -> Role:
    """By id, else by name in any case. Raises NotFound."""
    by_id = role(connection, name_or_id)
    if by_id:
        return by_id
    row = connection.execute(select(roles).where(roles.c.name == name_or_id.lower())).mappings().first()
    if row is None:
        raise NotFound(f"There is no role {name_or_id}.")
    return Role(**row)


def list_roles(connection: Connection) -> list[Role]:
    """All roles by name."""
    return [Role(**row) for row in connection.execute(select(roles).order_by(roles.c.name)).mappings()]


def delete_role(connection: Connection, role_id: str) -> None:
    """Raises NotFound, and Conflict while somebody holds it."""
    held = connection.execute(select(assignments.c.user_id).where(assignments.c.role_id == role_id).limit(1)).first()
    if held:
        raise Conflict("Somebody holds that role; remove it from them first.")
    held_by_credential = application_credential_roles.c.role_id == role_id
    connection.execute(delete(application_credential_roles).where(held_by_credential))
    _require(connection.execute(delete(roles).where(roles.c.id == role_id)).rowcount, "role", role_id)


def add_role(connection: Connection, *, user_id: str, project_id: str, role_id: str) -> bool:
    """Give the role; False where the user held it already."""
    values = {"user_id": user_id, "project_id": project_id, "role_id": role_id}
    if connection.execute(select(assignments).filter_by(**values)).first():
        return False
    connection.execute(insert(assignments).values(values))
    return True


def remove_role(connection: Connection, *, user_id: str, project_id: str, role_id: str) -> bool:
    """Take the role back; False where the user did not hold it.

    Tokens of the user are revoked, and so are the user's application credentials on that project: each was made
    with roles the user had then.
    """
    values = {"user_id": user_id, "project_id": project_id, "role_id": role_id}
    if not connection.execute(delete(assignments).filter_by(**values)).rowcount:
        return False
    on_project = application_credentials.c.project_id == project_id
    _delete_application_credentials(connection, (application_credentials.c.user_id == user_id) & on_project)
    revoke_tokens(connection, user_id)
    return True


def roles_on(connection: Connection, *, user_id: str, project_id: str) -> list[Role]:
    """The roles that the user was given there; implied ones are not added."""
    statement = (
        select(roles)
        .join(assignments, assignments.c.role_id == roles.c.id)
        .where(assignments.c.user_id == user_id, assignments.c.project_id == project_id)
        .order_by(roles.c.name)
    )
    return [Role(**row) for row in connection.execute(statement).mappings()]


def effective_roles(connection: Connection, held: Iterable[str]) -> tuple[Role, ...]:
    """The roles of those names with all that they imply, by name."""
    names = set(held)
    for name in tuple(names):
        names |= IMPLIED_ROLES.get(name, frozenset())
    return tuple(role for role in list_roles(connection) if role.name in names)


def list_assignments(
    connection: Connection, *, user_id: str | None = None, project_id: str | None = None, role_id: str | None = None
) -> list[Assignment]:
    """Who holds which role where, by user, project and role name."""
    statement = (
        select(assignments.c.user_id, assignments.c.project_id, assignments.c.role_id)
        .join(users, users.c.id == assignments.c.user_id)
        .join(projects, projects.c.id == assignments.c.project_id)
        .join(roles, roles.c.id == assignments.c.role_id)
        .order_by(users.c.name, projects.c.name, roles.c.name)
    )
    wanted = {"user_id": user_id, "project_id": project_id, "role_id": role_id}
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(assignments.c[column] == value)
    keys = connection.execute(statement).all()
    people = {one.id: one for one in list_users(connection)}
    places = {one.id: one for one in list_projects(connection)}
    titles = {one.id: one for one in list_roles(connection)}
    return [Assignment(people[u], places[p], titles[r]) for u, p, r in keys]


# -- application credentials -------------------------------------------------------------------------------------


def insert_application_credential(connection: Connection, credential: ApplicationCredential) -> None:
    """Raises Conflict where the user has one of that name."""
    values = _columns(credential)
    role_ids = values.pop("role_ids")
    taken = f"There is an application credential called {credential.name} already."
    _insert(connection, application_credentials, values, taken)
    connection.execute(
        insert(application_credential_roles),
        [{"application_credential_id": credential.id, "role_id": role_id} for role_id in role_ids],
    )


def application_credential(connection: Connection, credential_id: str) -> ApplicationCredential | None:
    statement = select(application_credentials).where(application_credentials.c.id == credential_id)
    return next(iter(_application_credentials(connection, statement)), None)


def application_credentials_of(
    connection: Connection, user_id: str, *, name: str | None = None
) -> list[ApplicationCredential]:
    """The user's, by name."""
    statement = select(application_credentials).where(application_credentials.c.user_id == user_id)
    if name is not None:
        statement = statement.where(application_credentials.c.name == name)
    return _application_credentials(connection, statement.order_by(application_credentials.c.name))


def delete_application_credential(connection: Connection, credential_id: str) -> None:
    """Tokens got with it are void from now on. Raises NotFound."""
    gone = _delete_application_credentials(connection, application_credentials.c.id == credential_id)
    _require(gone, "application credential", credential_id)


def _application_credentials(connection: Connection, statement: Select[Any]) -> list[ApplicationCredential]:
    rows = connection.execute(statement).mappings().all()
    link = application_credential_roles.c
    held: dict[str, list[str]] = {row["id"]: [] for row in rows}
    for credential_id, role_id in connection.execute(
        select(link.application_credential_id, link.role_id)
        .where(link.application_credential_id.in_(list(held)))
        .order_by(link.role_id)
    ):
        held[credential_id].append(role_id)
    return [ApplicationCredential(**row, role_ids=tuple(held[row["id"]])) for row in rows]


def _delete_application_credentials(connection: Connection, condition: Any) -> int:
    wanted = select(application_credentials.c.id).where(condition)
    ids = list(connection.execute(wanted).scalars())
    link = application_credential_roles.c.application_credential_id
    connection.execute(delete(application_credential_roles).where(link.in_(ids)))
    return connection.execute(delete(application_credentials).where(application_credentials.c.id.in_(ids))).rowcount


# -- rows --------------------------------------------------------------------------------------------------------


def _columns(record: User | Project | Role | ApplicationCredential) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _insert(connection: Connection, table: Table, values: dict[str, Any], taken: str) -> None:
    try:
        connection.execute(insert(table).values(values))
    except IntegrityError as error:
        raise Conflict(taken) from error


def _require(rowcount: int, noun: str, key: str) -> None:
    if not rowcount:
        raise NotFound(f"There is no {noun} {key}.")


def _update_user(connection: Connection, user_id: str, values: dict[str, Any]) -> None:
    if user(connection, user_id) is None:  # MariaDB counts only rows that changed
        raise NotFound(f"There is no user {user_id}.")
    connection.execute(update(users).where(users.c.id == user_id).values(values))


def _user(connection: Connection, statement: Select[Any]) -> User | None:
    row = connection.execute(statement).mappings().first()
    return _as_user(row) if row else None


def _project(connection: Connection, statement: Select[Any]) -> Project | None:
    row = connection.execute(statement).mappings().first()
    return _as_project(row) if row else None


def _as_user(row: RowMapping) -> User:
    return User(**row)


def _as_project(row: RowMapping) -> Project:
    return Project(**row)
