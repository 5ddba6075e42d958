"""The method glance-download: an image of another region, read in the caller's name (spec: import-and-tasks §9)."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from blick.model import remote_image as remote_images
from blick.model.context import RequestContext
from blick.model.errors import Invalid, SourceBroken, SourceDenied, SourceMissing
from blick.model.import_job import ImportWork
from blick.model.remote_image import RemoteImage
from blick.ops.imports.methods.source import Source
from blick.ops.imports.methods.web_download import require_size
from blick.ops.services import Services
from blick.stream.download import Patience, Wanted, download, read_small

_SERVICE_TYPE = "image"
_MOST_RECORD_BYTES = 1 << 20


def endpoint_of(context: RequestContext, region: str, interface: str) -> str:
    """The address of the image service in that region, whatever the case of its name, as the caller's catalog says.

    Raises Invalid if there is none.
    """
    catalog = context.service_catalog
    for endpoint in catalog.endpoints if catalog is not None else ():
        place = (endpoint.service_type, endpoint.interface, (endpoint.region or "").lower())
        if place == (_SERVICE_TYPE, interface, region.lower()):
            return endpoint.url
    raise Invalid(f"There is no image service with a {interface} address in the region {region[:80]!r}.")


async def remote_image(services: Services, work: ImportWork, context: RequestContext) -> RemoteImage:
    """What the other service says of the image.

    Raises Invalid (refused by the filter; a property that cannot be kept), SourceError, LimitExceeded.
    """
    wanted = _wanted(work, context, "")
    with _own_words(work):
        text = await read_small(services.fetcher, wanted, _patience(services), _MOST_RECORD_BYTES)
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SourceBroken("The other image service does not answer with a record of the image.") from error
        remote = remote_images.parse(
            document,
            work.arguments["glance_image_id"],
            services.image_schema,
            services.settings.imports.download_properties,
        )
    require_size(services, remote.expected.size_bytes, remote.expected)
    return remote


@asynccontextmanager
async def source(
    services: Services, work: ImportWork, context: RequestContext, remote: RemoteImage
) -> AsyncIterator[Source]:
    """Ask for the data of `remote`, and give it, not to be used outside the context.

    Raises Invalid (refused by the filter), SourceError (also where it does not have the size of the record).
    """
    # The data of an active image does not change, and whether it is whole its hash tells.
    wanted = _wanted(work, context, "/file", is_verified=True)
    with _own_words(work):
        async with download(services.fetcher, wanted, _patience(services)) as body:
            require_size(services, body.size_bytes, remote.expected)
            yield Source(body, remote.expected)


def _wanted(work: ImportWork, context: RequestContext, path: str, *, is_verified: bool = False) -> Wanted:
    if context.auth_token is None:
        raise SourceDenied("The caller's token is not there any more: the import has to be asked for again.")
    root = str(work.arguments["endpoint"]).rstrip("/").removesuffix("/v2")
    uri = f"{root}/v2/images/{work.arguments['glance_image_id']}{path}"
    return Wanted(uri, secrets={"X-Auth-Token": context.auth_token}, is_verified=is_verified)


def _patience(services: Services) -> Patience:
    return Patience(services.settings.fetch.retries)


@contextmanager
def _own_words(work: ImportWork) -> Iterator[None]:
    region = str(work.arguments["glance_region"])[:80]
    try:
        yield
    except SourceDenied as error:
        raise SourceDenied(f"The image service in the region {region!r} does not let the caller in: {error}") from error
    except SourceMissing as error:
        raise SourceMissing(f"The image service in the region {region!r} has no such image for the caller.") from error
