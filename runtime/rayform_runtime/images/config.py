"""Settings of the container registry flavors. Credentials are never among them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["DockerRegistryConfig", "ECRConfig", "GARConfig"]


class DockerRegistryConfig(BaseModel):
    """Settings of flavor `docker`: `uri` is `host[:port]/repository`; `insecure` allows plain HTTP."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    insecure: bool = False


class ECRConfig(BaseModel):
    """Settings of flavor `ecr`: `uri` is the repository's URL; `endpoint_url` serves emulators."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    region: str | None = None
    endpoint_url: str | None = None
    insecure: bool = False


class GARConfig(BaseModel):
    """Settings of flavor `gar`: `uri` is `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/…`."""

    model_config = ConfigDict(extra="forbid")

    uri: str
