"""Which URLs exist, and who serves them (spec: images-api §4): the first that fits a path serves it.

The paths are the ones behind the version; every alias of v2 leads here. What stands below `/metadefs` is a table of
its own, in blick.http.metadefs.routes. Calls of the cache, which no site has yet, answer as they do where an
operator has switched it off.
"""

from collections.abc import Mapping

from blick.http import (
    cache,
    image_data,
    images,
    imports,
    info,
    jobs,
    locations,
    members,
    resumable_uploads,
    schemas,
    stores,
    tags,
    tasks,
)
from blick.http.metadefs.routes import METADEF_ROUTES
from blick.http.route import Call, Route

_VISIBILITY_RULES = ("publicize_image", "communitize_image")
_LOCATION_RULES = ("set_image_location", "delete_image_location")

_DESCRIBED: Mapping[str, str] = {
    "image": "an image",
    "images": "a list of images",
    "member": "a membership",
    "members": "a list of memberships",
    "task": "a task",
    "tasks": "a list of tasks",
}

_METADEF_DESCRIBED: Mapping[str, str] = {
    "namespace": "a namespace of metadata definitions",
    "namespaces": "a list of namespaces",
    "object": "an object",
    "objects": "a list of objects",
    "property": "a property",
    "properties": "the properties of a namespace",
    "resource_type": "an association with a resource type",
    "resource_types": "a list of associations",
    "tag": "a tag",
    "tags": "a list of tags",
}

ROUTES: tuple[Route, ...] = (
    Route(
        "/images",
        {
            "GET": Call(
                images.index,
                ("get_images", "get_image"),
                "List images, page by page",
                gives="images",
                query="image_list",
            ),
            "POST": Call(
                images.create,
                ("add_image", *_VISIBILITY_RULES),
                "Register an image, without data",
                (201,),
                sends="new_image",
                gives="image",
            ),
        },
    ),
    Route(
        "/images/{image_id}",
        {
            "GET": Call(images.show, ("get_image",), "Show an image", gives="image", takes_body=False),
            "PATCH": Call(
                images.update,
                ("modify_image", *_VISIBILITY_RULES, *_LOCATION_RULES),
                "Change attributes and properties",
                sends="image_patch",
                gives="image",
            ),
            "DELETE": Call(images.delete, ("delete_image",), "Delete an image and its data", (204,), takes_body=False),
        },
    ),
    Route(
        "/images/{image_id}/file",
        {
            "GET": Call(
                image_data.download,
                ("download_image", "download_from_store"),
                "Download data, or a range of it",
                (200, 206, 204, 307),
                gives="data",
                query="download",
                takes_body=False,
            ),
            "PUT": Call(image_data.upload, ("upload_image",), "Upload data", (204,), sends="data"),
        },
    ),
    Route(
        "/images/{image_id}/upload",
        {
            "POST": Call(
                resumable_uploads.begin,
                ("upload_image",),
                "Begin an upload that can be taken up again (tus 1.0)",
                (201,),
                headers="new_upload",
            )
        },
    ),
    Route(
        "/images/{image_id}/upload/{upload_id}",
        {
            "HEAD": Call(resumable_uploads.show, ("upload_image",), "How much of an upload is there", headers="upload"),
            "PATCH": Call(
                resumable_uploads.add,
                ("upload_image",),
                "Add a piece to an upload; the last one gives the image its data",
                (204,),
                sends="piece",
                headers="piece",
            ),
            "DELETE": Call(
                resumable_uploads.terminate,
                ("upload_image",),
                "Give an upload up",
                (204,),
                headers="upload",
                takes_body=False,
            ),
        },
    ),
    Route(
        "/images/{image_id}/stage",
        {"PUT": Call(imports.stage, ("modify_image",), "Stage data for an import", (204,), sends="data")},
    ),
    Route(
        "/images/{image_id}/import",
        {
            "POST": Call(
                imports.start,
                ("modify_image", "copy_image"),
                "Give an image data in the background: staged, from the web, from another store or region",
                (202,),
                sends="import",
            )
        },
    ),
    Route(
        "/images/{image_id}/actions/deactivate",
        {
            "POST": Call(
                images.deactivate,
                ("deactivate",),
                "Keep everybody but administrators from the data",
                (204,),
                takes_body=False,
            )
        },
    ),
    Route(
        "/images/{image_id}/actions/reactivate",
        {"POST": Call(images.reactivate, ("reactivate",), "Undo that", (204,), takes_body=False)},
    ),
    Route(
        "/images/{image_id}/tags/{tag}",
        {
            "PUT": Call(tags.add, ("modify_image",), "Add a tag", (204,), takes_body=False),
            "DELETE": Call(tags.remove, ("modify_image",), "Remove a tag", (204,), takes_body=False),
        },
    ),
    Route(
        "/images/{image_id}/locations",
        {
            "POST": Call(
                locations.create,
                ("add_image_location",),
                "Give a queued image the data at a URL, in the background",
                (202,),
                sends="new_location",
            ),
            "GET": Call(
                locations.index, ("fetch_image_location",), "Where the data lies, for services", gives="locations"
            ),
        },
    ),
    Route(
        "/images/{image_id}/tasks",
        {
            "GET": Call(
                tasks.of_image,
                ("get_image",),
                "What was done to an image in the background, and how that went",
                gives="image_tasks",
                takes_body=False,
            )
        },
        is_known_to_others=False,
    ),
    Route(
        "/images/{image_id}/members",
        {
            "GET": Call(
                members.index,
                ("get_image", "get_members", "get_member"),
                "List the projects that a shared image is shared with",
                gives="members",
                takes_body=False,
            ),
            "POST": Call(
                members.create,
                ("get_image", "add_member"),
                "Share an image with a project",
                sends="new_member",
                gives="member",
            ),
        },
    ),
    Route(
        "/images/{image_id}/members/{member_id}",
        {
            "GET": Call(
                members.show, ("get_image", "get_member"), "Show one membership", gives="member", takes_body=False
            ),
            "PUT": Call(
                members.update,
                ("get_image", "get_member", "modify_member"),
                "Accept or reject an image",
                sends="member_status",
                gives="member",
            ),
            "DELETE": Call(
                members.delete,
                ("get_image", "get_member", "delete_member"),
                "End a membership",
                (204,),
                takes_body=False,
            ),
        },
    ),
    Route(
        "/info/import",
        {
            "GET": Call(
                info.import_methods, (), "Which import methods there are", gives="import_methods", takes_body=False
            )
        },
    ),
    Route(
        "/info/stores",
        {
            "GET": Call(
                info.list_stores,
                (),
                "The stores; 404 where there is one without a name",
                gives="stores",
                takes_body=False,
            )
        },
    ),
    Route(
        "/info/stores/detail",
        {
            "GET": Call(
                info.list_stores_in_detail,
                ("stores_info_detail",),
                "The stores, with type, weight and properties",
                gives="stores",
                takes_body=False,
            )
        },
    ),
    Route(
        "/info/usage",
        {
            "GET": Call(
                info.usage,
                (),
                "What the caller's project uses of its limits, where Keystone keeps them",
                gives="usage",
            )
        },
        is_known_to_others=False,
    ),
    Route(
        "/stores/{store_id}/{image_id}",
        {
            "DELETE": Call(
                stores.delete_copy,
                ("get_image_location", "delete_image_location"),
                "Delete one store's copy of an image",
                (204,),
                takes_body=False,
            )
        },
    ),
    Route(
        "/tasks",
        {
            "GET": Call(
                tasks.index, ("tasks_api_access",), "List tasks, page by page", gives="tasks", query="task_list"
            ),
            "POST": Call(tasks.create, ("tasks_api_access",), "Start a task", (201,), sends="new_task", gives="task"),
        },
    ),
    Route(
        "/tasks/{task_id}",
        {
            "GET": Call(tasks.show, ("tasks_api_access",), "Show a task", gives="task"),
            "DELETE": Call(tasks.delete, ("tasks_api_access",), "Nothing: tasks go when their time is over", (405,)),
        },
    ),
    Route(
        "/jobs",
        {
            "GET": Call(
                jobs.index,
                ("jobs_get",),
                "List work in the background, newest first, page by page",
                gives="jobs",
                query="job_list",
                takes_body=False,
            )
        },
    ),
    Route(
        "/jobs/{job_id}",
        {"GET": Call(jobs.show, ("jobs_get",), "How far a job is, or how it ended", gives="job", takes_body=False)},
    ),
    Route(
        "/jobs/{job_id}/actions/cancel",
        {
            "POST": Call(
                jobs.cancel,
                ("jobs_get", "jobs_modify"),
                "End a job that is not over, and undo what it did",
                (202,),
                gives="job",
                takes_body=False,
            )
        },
    ),
    Route(
        "/jobs/{job_id}/actions/retry",
        {
            "POST": Call(
                jobs.retry,
                ("jobs_get", "jobs_modify"),
                "Do once more, as a new job, what failed or was cancelled",
                (202,),
                gives="job",
                takes_body=False,
            )
        },
    ),
    *METADEF_ROUTES,
    Route(
        "/cache",
        {
            "GET": Call(
                cache.refuse, (), "The image cache: no site has one yet, here and below", (404,), takes_body=False
            ),
            "DELETE": Call(cache.refuse, (), "Empty it", (404,)),
        },
    ),
    Route("/cache/clean", {"POST": Call(cache.refuse, (), "Remove what is broken", (404,))}),
    Route("/cache/prune", {"POST": Call(cache.refuse, (), "Remove what is over its size", (404,))}),
    Route(
        "/cache/nodes/{image_id}",
        {"GET": Call(cache.refuse, (), "Which hosts have an image", (404,), takes_body=False)},
    ),
    Route(
        "/cache/{image_id}",
        {
            "DELETE": Call(cache.refuse, (), "Remove an image from it", (404,)),
            "PUT": Call(cache.refuse, (), "Queue an image for it", (404,)),
        },
    ),
    *(
        Route(
            f"/schemas/{name}",
            {
                "GET": Call(
                    schemas.show,
                    (),
                    f"JSON schema of {what}",
                    gives="json_schema",
                    takes_body=name in ("task", "tasks"),
                )
            },
        )
        for name, what in _DESCRIBED.items()
    ),
    *(
        Route(
            f"/schemas/metadefs/{name}",
            {"GET": Call(schemas.show_metadef, (), f"JSON schema of {what}", gives="json_schema", takes_body=False)},
        )
        for name, what in _METADEF_DESCRIBED.items()
    ),
)
