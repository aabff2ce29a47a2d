"""Settings of the artifact store flavors. They never hold credentials, which come from the cloud's own chain."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rayform_core.network import is_google_api

__all__ = ["GCSStoreConfig", "LocalStoreConfig", "S3StoreConfig"]


class LocalStoreConfig(BaseModel):
    """Settings of flavor `local`: `path` is an absolute folder."""

    model_config = ConfigDict(extra="forbid")

    path: str


class S3StoreConfig(BaseModel):
    """Settings of flavor `s3`.

    Args:
        bucket: name of the bucket.
        prefix: key prefix below which the store keeps everything.
        region: the bucket's region; by default, the AWS chain's.
        endpoint_url: URL of an S3-compatible store or an emulator; by default, Amazon's.
        kms_key_id: key to encrypt objects with; by default, the bucket's.
    """

    model_config = ConfigDict(extra="forbid")

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = "artifacts"
    region: str | None = None
    endpoint_url: str | None = None
    kms_key_id: str | None = None


class GCSStoreConfig(BaseModel):
    """Settings of flavor `gcs`.

    Args:
        bucket: name of the bucket.
        prefix: key prefix below which the store keeps everything.
        project: the bucket's project; by default, that of the application default credentials.
        endpoint_url: URL of an emulator; by default, Google's.
    """

    model_config = ConfigDict(extra="forbid")

    bucket: str = Field(min_length=3, max_length=222)
    prefix: str = "artifacts"
    project: str | None = None
    endpoint_url: str | None = None

    @field_validator("endpoint_url")
    @classmethod
    def _of_google(cls, url: str | None) -> str | None:
        if url is not None and not is_google_api(url):
            raise ValueError(f"'{url}' is not an API of Google, and would get your access token")
        return url
