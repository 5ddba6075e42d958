"""Version documents, tokens, and what a token opens."""

from starlette.requests import Request
from starlette.responses import Response

from blick.db import identity as directory
from blick.identity.embedded import documents
from blick.identity.embedded.handlers import Handlers, answer, client_address, read_body
from blick.identity.embedded.requests import AuthRequest, parse
from blick.identity.embedded.service import Session
from blick.model.errors import Forbidden, Invalid, NotFound, Unauthenticated


class AuthHandlers(Handlers):
    """/identity, /identity/v3 and /identity/v3/auth."""

    async def versions(self, request: Request) -> Response:
        """Keystone answers 300 here: the client has to choose a version."""
        document = documents.version(self.links.identity(request))
        return answer(request, {"versions": {"values": [document]}}, 300)

    async def version(self, request: Request) -> Response:
        return answer(request, {"version": documents.version(self.links.identity(request))})

    async def log_in(self, request: Request) -> Response:
        body = parse(await read_body(request), AuthRequest)
        token, session = await self.identity.log_in(body.auth, client_address(request))
        return answer(request, self._token(request, session), 201, {"X-Subject-Token": token})

    async def show_token(self, request: Request) -> Response:
        token, session = await self._subject(request)
        return answer(request, self._token(request, session), 200, {"X-Subject-Token": token})

    async def revoke_token(self, request: Request) -> Response:
        _, session = await self._subject(request, needs_admin=True)
        await self.identity.revoke(session)
        return Response(status_code=204)

    async def catalog(self, request: Request) -> Response:
        session = await self.caller(request)
        if session.project is None:
            raise Forbidden("A token without a project has no catalog.")
        return answer(
            request,
            {"catalog": self._catalog(request), "links": {"self": self.links.v3(request, "/auth/catalog")}},
        )

    async def projects(self, request: Request) -> Response:
        session = await self.caller(request)
        projects = await self.identity.database.read(directory.projects_of, session.user.id)
        url = self.links.v3(request)
        members = [documents.project(project, url) for project in projects if project.enabled]
        return answer(request, documents.collection("projects", members, f"{url}/auth/projects"))

    async def domains(self, request: Request) -> Response:
        """Nobody holds a role on the domain, so nobody can have a token for it."""
        await self.caller(request)
        return answer(request, documents.collection("domains", [], self.links.v3(request, "/auth/domains")))

    async def _subject(self, request: Request, *, needs_admin: bool = False) -> tuple[str, Session]:
        """The token that the request is about: the caller's own, or another one for those who may."""
        caller = await self.caller(request)
        token = request.headers.get("x-subject-token")
        if not token:
            raise Invalid("The header X-Subject-Token is missing.")
        try:
            session = await self.identity.validate(token)
        except Unauthenticated as error:
            raise NotFound("There is no such token.") from error
        may = caller.is_admin or (caller.may_validate and not needs_admin)
        if session.user.id != caller.user.id and not may:
            raise Forbidden("You are not authorized to look at tokens of others.")
        return token, session

    def _token(self, request: Request, session: Session) -> documents.Document:
        wanted = "nocatalog" not in request.query_params
        return documents.token(session, self._catalog(request) if wanted else None)

    def _catalog(self, request: Request) -> list[documents.Document]:
        return documents.catalog(image_url=self.links.image(request), identity_url=self.links.identity(request))
