"""Which URLs exist, and who serves them (spec: images-api §4).

The paths are the ones behind the version; every alias of v2 leads here. Places of routes that belong to features
still to come (import, stage, tasks, stores, cache, metadefs) are simply not taken.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from blick.http import image_data, images, members, schemas, tags
from blick.http.request import Request

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """One method of a route: its handler, the policy rules that can refuse it, and whether it takes a body.

    Not named is `get_image` where it only decides between 403 and 404 (spec: policies §2).
    """

    handler: Handler
    rules: tuple[str, ...]
    takes_body: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """One path and its methods, in the order of the Allow header."""

    path: str
    calls: Mapping[str, Call]


_VISIBILITY_RULES = ("publicize_image", "communitize_image")

ROUTES: tuple[Route, ...] = (
    Route(
        "/images",
        {
            "GET": Call(images.index, ("get_images", "get_image")),
            "POST": Call(images.create, ("add_image", *_VISIBILITY_RULES)),
        },
    ),
    Route(
        "/images/{image_id}",
        {
            "GET": Call(images.show, ("get_image",), takes_body=False),
            "PATCH": Call(images.update, ("get_image", "modify_image", *_VISIBILITY_RULES)),
            "DELETE": Call(images.delete, ("delete_image",), takes_body=False),
        },
    ),
    Route(
        "/images/{image_id}/file",
        {
            "GET": Call(image_data.download, ("download_image", "download_from_store"), takes_body=False),
            "PUT": Call(image_data.upload, ("upload_image",)),
        },
    ),
    Route(
        "/images/{image_id}/actions/deactivate", {"POST": Call(images.deactivate, ("deactivate",), takes_body=False)}
    ),
    Route(
        "/images/{image_id}/actions/reactivate", {"POST": Call(images.reactivate, ("reactivate",), takes_body=False)}
    ),
    Route(
        "/images/{image_id}/tags/{tag}",
        {
            "PUT": Call(tags.add, ("modify_image",), takes_body=False),
            "DELETE": Call(tags.remove, ("modify_image",), takes_body=False),
        },
    ),
    Route(
        "/images/{image_id}/members",
        {
            "GET": Call(members.index, ("get_image", "get_members", "get_member"), takes_body=False),
            "POST": Call(members.create, ("get_image", "add_member")),
        },
    ),
    Route(
        "/images/{image_id}/members/{member_id}",
        {
            "GET": Call(members.show, ("get_image", "get_member"), takes_body=False),
            "PUT": Call(members.update, ("get_image", "get_member", "modify_member")),
            "DELETE": Call(members.delete, ("get_image", "get_member", "delete_member"), takes_body=False),
        },
    ),
    *(
        Route(f"/schemas/{name}", {"GET": Call(schemas.show, (), takes_body=name in ("task", "tasks"))})
        for name in ("image", "images", "member", "members", "task", "tasks")
    ),
)
