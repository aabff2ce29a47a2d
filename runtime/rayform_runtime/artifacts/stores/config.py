"""Settings of the artifact store flavors. Credentials are never among them: they come from the cloud's chain."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GCSStoreConfig", "LocalStoreConfig", "S3StoreConfig"]


class LocalStoreConfig(BaseModel):
    """Settings of flavor `local`: `path` is an absolute folder."""

    model_config = ConfigDict(extra="forbid")

    path: str


class S3StoreConfig(BaseModel):
    """Settings of flavor `s3`.

    Args:
        bucket: the bucket.
        prefix: key prefix below which everything lies.
        region: the bucket's region; the chain's unless told.
        endpoint_url: for S3-compatible stores and emulators.
        kms_key_id: encrypt objects with this key rather than the bucket's default.
    """

    model_config = ConfigDict(extra="forbid")

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = "artifacts"
    region: str | None = None
    endpoint_url: str | None = None
    kms_key_id: str | None = None


class GCSStoreConfig(BaseModel):
    """Settings of flavor `gcs`: `project` and `endpoint_url` come from the chain unless told."""

    model_config = ConfigDict(extra="forbid")

    bucket: str = Field(min_length=3, max_length=222)
    prefix: str = "artifacts"
    project: str | None = None
    endpoint_url: str | None = None
