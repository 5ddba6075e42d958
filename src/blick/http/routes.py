"""Which URLs exist, and who serves them (spec: images-api §4).

The paths are the ones behind the version; every alias of v2 leads here. Calls of features that no site has yet
(import, stage, cache) answer as they do where an operator has switched those off.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

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
from blick.http.metadefs import namespaces as metadef_namespaces
from blick.http.metadefs import objects as metadef_objects
from blick.http.metadefs import properties as metadef_properties
from blick.http.metadefs import resource_types as metadef_resource_types
from blick.http.metadefs import tags as metadef_tags
from blick.http.request import Request

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """One method of a route.

    `rules` are the policy rules that can refuse it; not named is `get_image` where it only decides between 403 and
    404 (spec: policies §2). `about` says in a few words what it does, `answers` its statuses where all goes well.
    `sends` and `gives` name the shapes of bodies (blick.http.shapes), None where there is none or only text. A body
    that comes although `takes_body` is false is refused; `query` and `headers` name parameters and request headers
    that count (blick.http.shapes).
    """

    handler: Handler
    rules: tuple[str, ...]
    about: str
    answers: tuple[int, ...] = (200,)
    sends: str | None = None
    gives: str | None = None
    query: str | None = None
    headers: str | None = None
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
    Route(
        "/metadefs/namespaces",
        {
            "GET": Call(
                metadef_namespaces.index,
                ("get_metadef_namespaces", "list_metadef_resource_types", "get_metadef_namespace"),
                "List namespaces of metadata definitions, page by page",
                gives="metadef_namespaces",
                query="metadef_namespace_list",
            ),
            "POST": Call(
                metadef_namespaces.create,
                (
                    "add_metadef_namespace",
                    "add_metadef_resource_type_association",
                    "add_metadef_object",
                    "add_metadef_property",
                    "add_metadef_tag",
                ),
                "Make a namespace, with all that shall lie in it",
                (201,),
                sends="new_metadef_namespace",
                gives="metadef_namespace",
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}",
        {
            "GET": Call(
                metadef_namespaces.show,
                (
                    "get_metadef_namespace",
                    "list_metadef_resource_types",
                    "get_metadef_objects",
                    "get_metadef_properties",
                    "get_metadef_tags",
                ),
                "Show a namespace and all that lies in it, also as it is named on a type of resources",
                gives="metadef_namespace",
                query="metadef_namespace",
                takes_body=False,
            ),
            "PUT": Call(
                metadef_namespaces.update,
                ("modify_metadef_namespace",),
                "Replace what a namespace is, not what lies in it",
                sends="new_metadef_namespace",
                gives="metadef_namespace",
            ),
            "DELETE": Call(
                metadef_namespaces.delete,
                ("delete_metadef_namespace",),
                "Delete a namespace and all that lies in it",
                (204,),
                takes_body=False,
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/resource_types",
        {
            "GET": Call(
                metadef_resource_types.of_namespace,
                ("list_metadef_resource_types", "get_metadef_resource_type"),
                "List the resource types that a namespace is of use for",
                gives="metadef_associations",
                takes_body=False,
            ),
            "POST": Call(
                metadef_resource_types.associate,
                ("add_metadef_resource_type_association",),
                "Associate a namespace with a resource type",
                (201,),
                sends="new_metadef_association",
                gives="metadef_association",
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/resource_types/{name}",
        {
            "DELETE": Call(
                metadef_resource_types.dissociate,
                ("remove_metadef_resource_type_association",),
                "End an association; the resource type stays",
                (204,),
                takes_body=False,
            )
        },
    ),
    Route(
        "/metadefs/resource_types",
        {
            "GET": Call(
                metadef_resource_types.index,
                ("list_metadef_resource_types",),
                "List every resource type",
                gives="metadef_resource_types",
                takes_body=False,
            )
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/objects",
        {
            "GET": Call(
                metadef_objects.index,
                ("get_metadef_objects", "get_metadef_object"),
                "List the objects of a namespace",
                gives="metadef_objects",
                query="metadef_object_list",
            ),
            "POST": Call(
                metadef_objects.create,
                ("add_metadef_object",),
                "Define an object: properties that belong together",
                (201,),
                sends="new_metadef_object",
                gives="metadef_object",
            ),
            "DELETE": Call(
                metadef_objects.delete_all,
                ("delete_metadef_namespace",),
                "Delete all objects of a namespace",
                (204,),
                takes_body=False,
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/objects/{object_name}",
        {
            "GET": Call(
                metadef_objects.show,
                ("get_metadef_object",),
                "Show an object",
                gives="metadef_object",
                takes_body=False,
            ),
            "PUT": Call(
                metadef_objects.update,
                ("modify_metadef_object",),
                "Replace an object",
                sends="new_metadef_object",
                gives="metadef_object",
            ),
            "DELETE": Call(
                metadef_objects.delete, ("delete_metadef_object",), "Delete an object", (204,), takes_body=False
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/properties",
        {
            "GET": Call(
                metadef_properties.index,
                ("get_metadef_properties",),
                "List the properties of a namespace",
                gives="metadef_properties",
                takes_body=False,
            ),
            "POST": Call(
                metadef_properties.create,
                ("add_metadef_property",),
                "Define a property",
                (201,),
                sends="new_metadef_property",
                gives="metadef_property",
            ),
            "DELETE": Call(
                metadef_properties.delete_all,
                ("delete_metadef_namespace",),
                "Delete all properties of a namespace",
                (204,),
                takes_body=False,
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/properties/{property_name}",
        {
            "GET": Call(
                metadef_properties.show,
                ("get_metadef_property", "get_metadef_resource_type"),
                "Show a property, also by the name that it has on a type of resources",
                gives="metadef_property",
                query="metadef_property",
            ),
            "PUT": Call(
                metadef_properties.update,
                ("modify_metadef_property",),
                "Replace a property",
                sends="new_metadef_property",
                gives="metadef_property",
            ),
            "DELETE": Call(
                metadef_properties.delete,
                ("remove_metadef_property",),
                "Delete a property",
                (204,),
                takes_body=False,
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/tags",
        {
            "GET": Call(
                metadef_tags.index,
                ("get_metadef_tags",),
                "List the tags of a namespace, page by page",
                gives="metadef_tags",
                query="metadef_tag_list",
            ),
            "POST": Call(
                metadef_tags.create_many,
                ("add_metadef_tags",),
                "Give a namespace these tags, in the place of its own or beside them",
                (201,),
                sends="metadef_tags",
                gives="metadef_tags",
                headers="metadef_tags",
            ),
            "DELETE": Call(
                metadef_tags.delete_all,
                ("delete_metadef_namespace", "delete_metadef_tags"),
                "Delete all tags of a namespace",
                (204,),
                takes_body=False,
            ),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/tags/{tag_name}",
        {
            "GET": Call(metadef_tags.show, ("get_metadef_tag",), "Show a tag", gives="metadef_tag", takes_body=False),
            "POST": Call(
                metadef_tags.create,
                ("add_metadef_tag",),
                "Give a namespace a tag",
                (201,),
                gives="metadef_tag",
                takes_body=False,
            ),
            "PUT": Call(
                metadef_tags.update,
                ("modify_metadef_tag",),
                "Rename a tag",
                sends="new_metadef_tag",
                gives="metadef_tag",
            ),
            "DELETE": Call(metadef_tags.delete, ("delete_metadef_tag",), "Delete a tag", (204,), takes_body=False),
        },
    ),
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
