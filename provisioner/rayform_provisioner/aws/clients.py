"""Makes boto3 clients that talk to a target: AWS proper, or an emulated cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rayform_provisioner.aws.credentials import emulated_session, user_session
from rayform_provisioner.targets import Target

__all__ = ["AwsClient", "client"]

_BOTO_NAMES = {"servicequotas": "service-quotas"}
"""Services that boto3 and the Terraform provider call by different names."""


class AwsClient(Protocol):
    """A boto3 client, whose methods boto3 makes at run time from AWS's own description of the service."""

    def __getattr__(self, operation: str) -> Callable[..., Any]: ...


def client(target: Target, service: str, region: str) -> AwsClient:
    """Return a client of `service`, by the Terraform provider's name; cheap after the first, which makes the session.

    Raises:
        MissingCredentialsError: the user's credentials can't be had.
        PrerequisiteError: boto3 is not installed.
    """
    session = emulated_session() if target.access_key else user_session()
    from botocore.config import Config

    aws_client: AwsClient = session.client(
        _BOTO_NAMES.get(service, service),
        region_name=region,
        endpoint_url=target.endpoints.get(service),
        aws_access_key_id=target.access_key,
        aws_secret_access_key=target.secret_key,
        config=Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=5,
            read_timeout=60,
            s3={"addressing_style": "path"} if target.emulated else None,
            user_agent_extra="rayform",
        ),
    )
    return aws_client
