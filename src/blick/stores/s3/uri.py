"""URIs of S3 objects: `s3+https://<host>/<bucket>/<key>`, and `s3://` or `s3+http://` for servers without TLS.

The oldest ones have an access key and a secret in front of the host: `s3://<key>:<secret>@<host>/…`. Those are never
used, since the configuration has its own, and never shown. Needs no library: it holds for stores that are not open.
"""

SCHEMES = ("s3://", "s3+http://", "s3+https://")


def without_credentials(uri: str) -> str:
    """`uri` as it may be shown and recorded: S3 ones lose what stands in front of the host, others stay."""
    scheme = scheme_of(uri)
    if scheme is None:
        return uri
    return scheme + uri.removeprefix(scheme).rpartition("@")[2]  # old secrets may have slashes in them, names no @


def scheme_of(uri: str) -> str | None:
    """The scheme with its separator if `uri` is an S3 one, else None."""
    return next((scheme for scheme in SCHEMES if uri.startswith(scheme)), None)
