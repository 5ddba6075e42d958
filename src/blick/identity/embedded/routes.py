"""The routes of the embedded identity, and the ASGI application that serves them."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from blick.identity.embedded.auth_handlers import AuthHandlers
from blick.identity.embedded.credential_handlers import CredentialHandlers
from blick.identity.embedded.errors import render_error
from blick.identity.embedded.links import PREFIX, Links
from blick.identity.embedded.lookup_handlers import LookupHandlers
from blick.identity.embedded.service import EmbeddedIdentity
from blick.model.errors import BlickError


def routes(identity: EmbeddedIdentity, *, public_endpoint: str | None = None) -> list[BaseRoute]:
    """Every route, with its full path below /identity. HEAD goes with GET."""
    links = Links(public_endpoint)
    auth = AuthHandlers(identity, links)
    lookup = LookupHandlers(identity, links)
    credentials = CredentialHandlers(identity, links)
    v3 = PREFIX + "/v3"
    user = v3 + "/users/{user_id}"
    own = user + "/application_credentials"
    return [
        Route(PREFIX, auth.versions),
        Route(PREFIX + "/", auth.versions),
        Route(v3, auth.version),
        Route(v3 + "/", auth.version),
        _route(v3 + "/auth/tokens", GET=auth.show_token, POST=auth.log_in, DELETE=auth.revoke_token),
        Route(v3 + "/auth/catalog", auth.catalog),
        Route(v3 + "/auth/projects", auth.projects),
        Route(v3 + "/auth/domains", auth.domains),
        Route(v3 + "/users", lookup.users),
        Route(user, lookup.user),
        Route(user + "/projects", lookup.user_projects),
        Route(user + "/password", lookup.change_password, methods=["POST"]),
        Route(user + "/access_rules", credentials.access_rules),
        _route(own, GET=credentials.list, POST=credentials.create),
        _route(own + "/{credential_id}", GET=credentials.show, DELETE=credentials.delete),
        Route(v3 + "/projects", lookup.projects),
        Route(v3 + "/projects/{project_id}", lookup.project),
        Route(v3 + "/roles", lookup.roles),
        Route(v3 + "/roles/{role_id}", lookup.role),
        Route(v3 + "/role_assignments", lookup.role_assignments),
        Route(v3 + "/domains", lookup.domains),
        Route(v3 + "/domains/{domain_id}", lookup.domain),
    ]


def _route(path: str, **handlers: Callable[[Request], Awaitable[Response]]) -> Route:
    """One route for all methods of a path, so that a wrong method is told of all of them."""

    async def serve(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, serve, methods=list(handlers))


def identity_app(identity: EmbeddedIdentity, *, public_endpoint: str | None = None) -> ASGIApp:
    """Serves /identity and all below it; hand it such requests with their full path, or mount it at /identity.

    `public_endpoint` is the address of the whole service as clients see it; by default each request's own.
    Errors of Blick are answered in Keystone's form; any other error is raised to the caller after a plain 500.
    """
    app = Starlette(
        routes=routes(identity, public_endpoint=public_endpoint),
        exception_handlers={
            HTTPException: render_error,
            BlickError: render_error,
            ClientDisconnect: render_error,
        },
    )
    app.router.redirect_slashes = False

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("root_path"):
            scope = {**scope, "root_path": ""}  # a mount point above: our routes have the full path
        await app(scope, receive, send)

    return serve
