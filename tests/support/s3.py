"""S3 servers of the tests, whichever they are, and stores in new buckets of theirs."""

from typing import Any, Protocol
from uuid import uuid4

import botocore.session
from botocore.config import Config


class S3Server(Protocol):
    """What moto, Swift and radosgw have in common."""

    s3_region: str

    @property
    def s3_endpoint(self) -> str:
        """Its URL."""
        ...

    @property
    def s3_access_key(self) -> str:
        """Whose buckets they are."""
        ...

    @property
    def s3_secret_key(self) -> str:
        """What requests are signed with."""
        ...


def client(server: S3Server, ca_file: str | None = None) -> Any:
    """botocore's client, to prepare and to look at what a store does. The caller closes it."""
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=server.s3_endpoint,
        region_name=server.s3_region,
        aws_access_key_id=server.s3_access_key,
        aws_secret_access_key=server.s3_secret_key,
        verify=ca_file,
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def new_bucket(server: S3Server, ca_file: str | None = None) -> str:
    """The name of an empty bucket that nobody else uses."""
    name = f"blick-{uuid4().hex}"
    made = client(server, ca_file)
    made.create_bucket(Bucket=name)
    made.close()
    return name


def options(server: S3Server, bucket: str, **more: Any) -> dict[str, Any]:
    """The options of a store in that bucket."""
    return {
        "s3_store_host": server.s3_endpoint,
        "s3_store_region_name": server.s3_region,
        "s3_store_access_key": server.s3_access_key,
        "s3_store_secret_key": server.s3_secret_key,
        "s3_store_bucket": bucket,
        "s3_store_bucket_url_format": "path",
        **more,
    }
