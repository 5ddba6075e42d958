"""Jobs over HTTP: work in the background, as its project sees it (docs: jobs)."""

from starlette.responses import Response

from blick.http.render import job_document
from blick.http.request import Request
from blick.http.responses import json_response
from blick.model import job_query
from blick.model.page import PageLimits, page_links
from blick.ops import jobs


async def index(request: Request) -> Response:
    """GET /v2/jobs"""
    api = request.services.settings.api
    query = job_query.parse(request.query, PageLimits(api.limit_param_default, api.api_limit_max))
    page = await jobs.list_jobs(request.services, request.context, query)
    links = page_links(request.query, page.last_id, "/v2/jobs")
    document: dict[str, object] = {"jobs": [job_document(job) for job in page.jobs], "first": links.first}
    return json_response(document if links.next is None else {**document, "next": links.next})


async def show(request: Request) -> Response:
    """GET /v2/jobs/{job_id}"""
    job = await jobs.show(request.services, request.context, request.path_params["job_id"])
    return json_response(job_document(job))


async def cancel(request: Request) -> Response:
    """POST /v2/jobs/{job_id}/actions/cancel"""
    job = await jobs.cancel(request.services, request.context, request.path_params["job_id"])
    return json_response(job_document(job), 202)


async def retry(request: Request) -> Response:
    """POST /v2/jobs/{job_id}/actions/retry"""
    job = await jobs.retry(request.services, request.context, request.path_params["job_id"])
    return json_response(job_document(job), 202, {"location": f"{request.base_url}/v2/jobs/{job.id}"})
