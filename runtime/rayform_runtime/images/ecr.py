"""Amazon ECR: an OCI registry whose login is a token from the AWS credential chain, valid for 12 hours."""

from __future__ import annotations

import base64
import time
from typing import NamedTuple

from rayform_core.emulated_cloud import keys_for
from rayform_core.errors import RemoteError
from rayform_runtime.images.config import ECRConfig
from rayform_runtime.images.interface import RegistryCredentials
from rayform_runtime.images.oci import OCIRegistry

__all__ = ["ECRRegistry"]

_RENEW_BEFORE = 600.0
"""Seconds before its end at which a login is renewed."""


class _Login(NamedTuple):
    expires: float
    credentials: RegistryCredentials


class ECRRegistry(OCIRegistry):
    """A repository in Amazon Elastic Container Registry.

    Args:
        config: the repository's URL, its region, and an emulator's endpoint if there is one.
        stack_name: the stack that the registry belongs to, for errors.
    """

    def __init__(self, config: ECRConfig, *, stack_name: str = "") -> None:
        super().__init__(config, stack_name=stack_name)
        self._config = config
        self._last_login: _Login | None = None  # the last login, from the first call of `credentials` on

    def credentials(self) -> RegistryCredentials | None:
        """See `ContainerRegistry.credentials`. A login is kept until ten minutes before its end."""
        if self._last_login is not None and time.time() < self._last_login.expires - _RENEW_BEFORE:
            return self._last_login.credentials
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            endpoint = self._config.endpoint_url
            client = boto3.client(
                "ecr", region_name=self._region(), endpoint_url=endpoint, **keys_for(endpoint)
            )
            data = client.get_authorization_token()["authorizationData"][0]
        except (BotoCoreError, ClientError) as error:
            raise RemoteError(
                f"AWS gave no login for the container registry '{self.host}'.",
                why=f"{error}.",
                hint="Check your AWS credentials with `aws sts get-caller-identity`, and that they allow "
                "ecr:GetAuthorizationToken.",
            ) from error
        username, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        self._last_login = _Login(data["expiresAt"].timestamp(), RegistryCredentials(username, password))
        return self._last_login.credentials

    def _region(self) -> str | None:
        if self._config.region:
            return self._config.region
        parts = self.host.split(".")
        return parts[3] if len(parts) > 4 and parts[2] == "ecr" else None

    def _login_hint(self) -> str:
        return "Check that your AWS identity may push to this repository (ecr:PutImage and the upload of layers)."
