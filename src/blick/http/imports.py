"""Imports over HTTP: POST import and PUT stage of /v2/images/{image_id} (spec: images-api §10.3, §11.1).

No import method is enabled at any site yet, and that is what both say, in the words clients know.
"""

from typing import NoReturn

from blick.http.request import Request
from blick.model import import_input
from blick.model.errors import Invalid, NotFound


async def start(request: Request) -> NoReturn:
    """POST /v2/images/{image_id}/import: 400, whichever method it names"""
    raise Invalid(f"Unknown import method name '{import_input.method_name(await request.json())}'.")


async def stage(_request: Request) -> NoReturn:
    """PUT /v2/images/{image_id}/stage: 404, even before its media type is looked at"""
    raise NotFound("'glance-direct' method is not available at this site.")
