"""Which URLs exist, and who serves them (spec: images-api §4).

The paths are the ones behind the version; every alias of v2 leads here. Calls of features that no site has yet
(import, stage, cache) answer as they do where an operator has switched those off.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from blick.http import cache, image_data, images, imports, info, locations, members, schemas, tags, tasks
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
    """One path and its methods, in the order of the Allow header.

    Any other method gets 405, or 404 where `is_known_to_others` is false: the customary answer of two old routes.
    """

    path: str
    calls: Mapping[str, Call]
    is_known_to_others: bool = True


_VISIBILITY_RULES = ("publicize_image", "communitize_image")
_LOCATION_RULES = ("set_image_location", "delete_image_location")

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
            "PATCH": Call(images.update, ("modify_image", *_VISIBILITY_RULES, *_LOCATION_RULES)),
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
    Route("/images/{image_id}/stage", {"PUT": Call(imports.stage, ())}),
    Route("/images/{image_id}/import", {"POST": Call(imports.start, ())}),
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
        "/images/{image_id}/locations",
        {
            "POST": Call(locations.create, ("add_image_location",)),
            "GET": Call(locations.index, ("fetch_image_location",)),
        },
    ),
    Route(
        "/images/{image_id}/tasks",
        {"GET": Call(tasks.of_image, ("get_image",), takes_body=False)},
        is_known_to_others=False,
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
    Route("/info/import", {"GET": Call(info.import_methods, (), takes_body=False)}),
    Route("/info/stores", {"GET": Call(info.list_stores, (), takes_body=False)}),
    Route("/info/stores/detail", {"GET": Call(info.list_stores_in_detail, ("stores_info_detail",), takes_body=False)}),
    Route("/info/usage", {"GET": Call(info.usage, ())}, is_known_to_others=False),
    Route("/cache", {"GET": Call(cache.refuse, (), takes_body=False), "DELETE": Call(cache.refuse, ())}),
    Route("/cache/clean", {"POST": Call(cache.refuse, ())}),
    Route("/cache/prune", {"POST": Call(cache.refuse, ())}),
    Route("/cache/nodes/{image_id}", {"GET": Call(cache.refuse, (), takes_body=False)}),
    Route("/cache/{image_id}", {"DELETE": Call(cache.refuse, ()), "PUT": Call(cache.refuse, ())}),
    *(
        Route(f"/schemas/{name}", {"GET": Call(schemas.show, (), takes_body=name in ("task", "tasks"))})
        for name in ("image", "images", "member", "members", "task", "tasks")
    ),
)
