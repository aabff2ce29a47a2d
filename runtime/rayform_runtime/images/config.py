"""Settings of the container registry flavors. They never hold credentials."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from rayform_core.network import is_loopback

__all__ = ["DockerRegistryConfig", "ECRConfig", "GARConfig"]

# A cloud's login goes to the registry that `uri` names, so it must be that cloud's.
_AMAZON = r"(amazonaws\.com(\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
_ECR = re.compile(rf"\d{{12}}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.{_AMAZON}")
_GAR = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io")


def _host(uri: str) -> str:
    return urlsplit(f"//{uri}").hostname or ""


class DockerRegistryConfig(BaseModel):
    """Settings of flavor `docker`: `uri` is `host[:port]/repository`; `insecure` allows plain HTTP."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    insecure: bool = False


class ECRConfig(BaseModel):
    """Settings of flavor `ecr`.

    Args:
        uri: the repository's URL.
        region: the repository's region; by default, the region in its URL.
        endpoint_url: URL of an emulator's API; by default, Amazon's.
        insecure: allow plain HTTP.
    """

    model_config = ConfigDict(extra="forbid")

    uri: str
    region: str | None = None
    endpoint_url: str | None = None
    insecure: bool = False

    @model_validator(mode="after")
    def _of_amazon(self) -> ECRConfig:
        host = _host(self.uri)
        if self.endpoint_url is None and not (_ECR.fullmatch(host) or is_loopback(host)):
            raise ValueError(f"'{host}' is not a registry of Amazon ECR, and would get its login")
        return self


class GARConfig(BaseModel):
    """Settings of flavor `gar`: `uri` is `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/…`."""

    model_config = ConfigDict(extra="forbid")

    uri: str

    @field_validator("uri")
    @classmethod
    def _of_google(cls, uri: str) -> str:
        host = _host(uri)
        if not (_GAR.fullmatch(host) or is_loopback(host)):
            raise ValueError(f"'{host}' is not a registry of Google, and would get your access token")
        return uri
