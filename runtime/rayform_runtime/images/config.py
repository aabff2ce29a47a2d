"""Settings of the container registry flavors. They never hold credentials."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["DockerRegistryConfig", "ECRConfig", "GARConfig"]


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


class GARConfig(BaseModel):
    """Settings of flavor `gar`: `uri` is `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/…`."""

    model_config = ConfigDict(extra="forbid")

    uri: str
