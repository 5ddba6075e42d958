"""Looking up users, projects, roles and the domain. Admins see all, everybody else what is their own."""

from collections.abc import Iterable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from blick.db import identity as directory
from blick.db.identity import Project, Role, User
from blick.identity.embedded import documents
from blick.identity.embedded.handlers import Handlers, answer, client_address, read_body
from blick.identity.embedded.names import DOMAIN_ID, DOMAIN_NAME, is_id
from blick.identity.embedded.requests import PasswordChangeRequest, parse
from blick.identity.embedded.service import Session
from blick.model.errors import Forbidden, NotFound

_FORBIDDEN = "You are not authorized to perform the requested action."
_NO = frozenset({"0", "false", "no", "off"})

Named = TypeVar("Named", User, Project)


class LookupHandlers(Handlers):
    """/v3/users, /v3/projects, /v3/roles, /v3/role_assignments, /v3/domains."""

    async def users(self, request: Request) -> Response:
        session = await self.caller(request)
        url = self.links.v3(request)
        if session.is_admin:
            found = _filtered(await self.identity.database.read(directory.list_users), request)
        else:
            found = _own(_filtered([session.user], request), request)
        return answer(
            request, documents.collection("users", [documents.user(one, url) for one in found], str(request.url))
        )

    async def user(self, request: Request) -> Response:
        session = await self.caller(request)
        user = await self._user(session, request.path_params["user_id"])
        return answer(request, {"user": documents.user(user, self.links.v3(request))})

    async def user_projects(self, request: Request) -> Response:
        session = await self.caller(request)
        user = await self._user(session, request.path_params["user_id"])
        projects = await self.identity.database.read(directory.projects_of, user.id)
        return self._project_list(request, _filtered(projects, request))

    async def change_password(self, request: Request) -> Response:
        """Needs no token: the old password says who it is, so that an expired log-in is no obstacle."""
        change = parse(await read_body(request), PasswordChangeRequest).user
        await self.identity.change_password(
            request.path_params["user_id"],
            old=change.original_password,
            new=change.password,
            address=client_address(request),
        )
        return Response(status_code=204)

    async def projects(self, request: Request) -> Response:
        session = await self.caller(request)
        if session.is_admin:
            return self._project_list(
                request, _filtered(await self.identity.database.read(directory.list_projects), request)
            )
        own = await self.identity.database.read(directory.projects_of, session.user.id)
        return self._project_list(request, _own(_filtered(own, request), request))

    async def project(self, request: Request) -> Response:
        session = await self.caller(request)
        project_id = request.path_params["project_id"]
        project = await self.identity.database.read(directory.project, project_id) if is_id(project_id) else None
        if not session.is_admin:
            own = await self.identity.database.read(directory.projects_of, session.user.id)
            if project is None or project not in own:
                raise Forbidden(_FORBIDDEN)
        if project is None:
            raise NotFound("There is no such project.")
        return answer(request, {"project": documents.project(project, self.links.v3(request))})

    async def roles(self, request: Request) -> Response:
        """Names of roles are no secret; application credentials are made with them."""
        await self.caller(request)
        name = request.query_params.get("name")
        roles = await self.identity.database.read(directory.list_roles)
        url = self.links.v3(request)
        found = [documents.role(role, url) for role in roles if name is None or role.name == name.lower()]
        return answer(request, documents.collection("roles", found, str(request.url)))

    async def role(self, request: Request) -> Response:
        await self.caller(request)
        role_id = request.path_params["role_id"]
        role: Role | None = await self.identity.database.read(directory.role, role_id) if is_id(role_id) else None
        if role is None:
            raise NotFound("There is no such role.")
        return answer(request, {"role": documents.role(role, self.links.v3(request))})

    async def role_assignments(self, request: Request) -> Response:
        session = await self.caller(request)
        wanted = request.query_params
        user_id = wanted.get("user.id")
        if not session.is_admin and user_id != session.user.id:
            raise Forbidden(_FORBIDDEN)
        filters = {"user_id": user_id, "project_id": wanted.get("scope.project.id"), "role_id": wanted.get("role.id")}
        url, with_names = self.links.v3(request), _is_set(request, "include_names")
        if "scope.system" in wanted or "scope.domain.id" in wanted or "group.id" in wanted:
            found = []
        elif all(value is None or is_id(value) for value in filters.values()):
            found = await self.identity.database.read(directory.list_assignments, **filters)
        else:
            found = []
        members = [documents.assignment(one, url, with_names=with_names) for one in found]
        return answer(request, documents.collection("role_assignments", members, str(request.url)))

    async def domains(self, request: Request) -> Response:
        await self.caller(request)
        name = request.query_params.get("name")
        shown = name is None or name.lower() == DOMAIN_NAME.lower()
        members = [documents.domain(self.links.v3(request))] if shown else []
        return answer(request, documents.collection("domains", members, str(request.url)))

    async def domain(self, request: Request) -> Response:
        await self.caller(request)
        if request.path_params["domain_id"] != DOMAIN_ID:
            raise NotFound("There is no such domain.")
        return answer(request, {"domain": documents.domain(self.links.v3(request))})

    async def _user(self, session: Session, user_id: str) -> User:
        """Oneself, or for admins anybody. Raises Forbidden, NotFound."""
        if not session.is_admin and user_id != session.user.id:
            raise Forbidden(_FORBIDDEN)
        user = await self.identity.database.read(directory.user, user_id) if is_id(user_id) else None
        if user is None:
            raise NotFound("There is no such user.")
        return user

    def _project_list(self, request: Request, projects: list[Project]) -> Response:
        members = [documents.project(project, self.links.v3(request)) for project in projects]
        return answer(request, documents.collection("projects", members, str(request.url)))


def _filtered(records: Iterable[Named], request: Request) -> list[Named]:
    """Those that fit ?name=, ?enabled= and ?domain_id=."""
    name, domain_id = request.query_params.get("name"), request.query_params.get("domain_id")
    if domain_id not in (None, DOMAIN_ID):
        return []
    enabled = _is_set(request, "enabled") if "enabled" in request.query_params else None
    return [
        record
        for record in records
        if (name is None or record.name == name) and (enabled is None or record.enabled == enabled)
    ]


def _own(found: list[Named], request: Request) -> list[Named]:
    """Whoever asks for a name that is not his own is told that he may not know.

    Clients count on that answer, as Keystone gives it: they then take the name for an id, so that an image can
    be shared with a project one may not look up.
    """
    if not found and "name" in request.query_params:
        raise Forbidden(_FORBIDDEN)
    return found


def _is_set(request: Request, parameter: str) -> bool:
    """Query flags: present without a value counts, as in Keystone."""
    value = request.query_params.get(parameter)
    return value is not None and value.lower() not in _NO
