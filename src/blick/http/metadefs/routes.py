"""The routes of metadata definitions, all below `/metadefs`; their place among the others is in blick.http.routes."""

from blick.http.metadefs import namespaces, objects, properties, resource_types, tags
from blick.http.route import Call, Route

METADEF_ROUTES: tuple[Route, ...] = (
    Route(
        "/metadefs/namespaces",
        {
            "GET": Call(
                namespaces.index,
                ("get_metadef_namespaces", "list_metadef_resource_types", "get_metadef_namespace"),
                "List namespaces of metadata definitions, page by page",
                gives="metadef_namespaces",
                query="metadef_namespace_list",
            ),
            "POST": Call(
                namespaces.create,
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
                namespaces.show,
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
                namespaces.update,
                ("modify_metadef_namespace",),
                "Replace what a namespace is, not what lies in it",
                sends="new_metadef_namespace",
                gives="metadef_namespace",
            ),
            "DELETE": Call(
                namespaces.delete,
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
                resource_types.of_namespace,
                ("list_metadef_resource_types", "get_metadef_resource_type"),
                "List the resource types that a namespace is of use for",
                gives="metadef_associations",
                takes_body=False,
            ),
            "POST": Call(
                resource_types.associate,
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
                resource_types.dissociate,
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
                resource_types.index,
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
                objects.index,
                ("get_metadef_objects", "get_metadef_object"),
                "List the objects of a namespace",
                gives="metadef_objects",
                query="metadef_object_list",
            ),
            "POST": Call(
                objects.create,
                ("add_metadef_object",),
                "Define an object: properties that belong together",
                (201,),
                sends="new_metadef_object",
                gives="metadef_object",
            ),
            "DELETE": Call(
                objects.delete_all,
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
                objects.show,
                ("get_metadef_object",),
                "Show an object",
                gives="metadef_object",
                takes_body=False,
            ),
            "PUT": Call(
                objects.update,
                ("modify_metadef_object",),
                "Replace an object",
                sends="new_metadef_object",
                gives="metadef_object",
            ),
            "DELETE": Call(objects.delete, ("delete_metadef_object",), "Delete an object", (204,), takes_body=False),
        },
    ),
    Route(
        "/metadefs/namespaces/{namespace_name}/properties",
        {
            "GET": Call(
                properties.index,
                ("get_metadef_properties",),
                "List the properties of a namespace",
                gives="metadef_properties",
                takes_body=False,
            ),
            "POST": Call(
                properties.create,
                ("add_metadef_property",),
                "Define a property",
                (201,),
                sends="new_metadef_property",
                gives="metadef_property",
            ),
            "DELETE": Call(
                properties.delete_all,
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
                properties.show,
                ("get_metadef_property", "get_metadef_resource_type"),
                "Show a property, also by the name that it has on a type of resources",
                gives="metadef_property",
                query="metadef_property",
            ),
            "PUT": Call(
                properties.update,
                ("modify_metadef_property",),
                "Replace a property",
                sends="new_metadef_property",
                gives="metadef_property",
            ),
            "DELETE": Call(
                properties.delete,
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
                tags.index,
                ("get_metadef_tags",),
                "List the tags of a namespace, page by page",
                gives="metadef_tags",
                query="metadef_tag_list",
            ),
            "POST": Call(
                tags.create_many,
                ("add_metadef_tags",),
                "Give a namespace these tags, in the place of its own or beside them",
                (201,),
                sends="metadef_tags",
                gives="metadef_tags",
                headers="metadef_tags",
            ),
            "DELETE": Call(
                tags.delete_all,
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
            "GET": Call(tags.show, ("get_metadef_tag",), "Show a tag", gives="metadef_tag", takes_body=False),
            "POST": Call(
                tags.create,
                ("add_metadef_tag",),
                "Give a namespace a tag",
                (201,),
                gives="metadef_tag",
                takes_body=False,
            ),
            "PUT": Call(
                tags.update,
                ("modify_metadef_tag",),
                "Rename a tag",
                sends="new_metadef_tag",
                gives="metadef_tag",
            ),
            "DELETE": Call(tags.delete, ("delete_metadef_tag",), "Delete a tag", (204,), takes_body=False),
        },
    ),
)
