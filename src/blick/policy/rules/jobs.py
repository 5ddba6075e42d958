"""Work in the background. Rules of Blick's own."""

from blick.policy.rules.rule import Rule

RULES = (
    Rule(
        "jobs_get",
        "rule:context_is_admin or (role:reader and project_id:%(project_id)s)",
        "See the jobs that are done for a project; other projects' jobs are seen by administrators only.",
        operations=(
            "GET /v2/jobs",
            "GET /v2/jobs/{job_id}",
            "POST /v2/jobs/{job_id}/actions/cancel",
            "POST /v2/jobs/{job_id}/actions/retry",
        ),
    ),
    Rule(
        "jobs_modify",
        "rule:context_is_admin or (role:member and project_id:%(project_id)s)",
        "Cancel a job that is done for a project, or try it again; the latter needs the right to import as well.",
        operations=(
            "POST /v2/jobs/{job_id}/actions/cancel",
            "POST /v2/jobs/{job_id}/actions/retry",
        ),
    ),
)
