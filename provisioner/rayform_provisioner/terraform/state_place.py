"""Where Terraform's state is, and where a root module wants it to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rayform_provisioner.clouds import BucketObject

__all__ = ["StatePlace", "next_place", "present_place", "state_objects"]


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Where a state is.

    Args:
        backend: `s3` or `local`.
        path: the object's key, or the file in the working folder.
        bucket: the bucket; empty for a file.
        region: the bucket's region; not compared, because a bucket's name alone says where it is.
    """

    backend: str
    path: str
    bucket: str = ""
    region: str = field(default="", compare=False)

    @property
    def bucket_object(self) -> BucketObject | None:
        """The object that holds the state; `None` for a file on this machine."""
        return BucketObject(self.region, self.bucket, self.path) if self.backend == "s3" else None


def present_place(folder: Path) -> StatePlace | None:
    """Return where the state of the working folder `folder` is; `None` if no `init` has ended there."""
    # Source: Terraform keeps the backend that it was initialised with in `.terraform/terraform.tfstate`.
    backend = _read(folder / ".terraform" / "terraform.tfstate", "backend")
    return _place(backend.get("type"), backend.get("config"))


def next_place(folder: Path) -> StatePlace | None:
    """Return where the root module in `folder` wants the state; `None` if there is no root module."""
    for backend, config in _read(folder / "main.tf.json", "terraform", "backend").items():
        return _place(backend, config)
    return None


def state_objects(folder: Path) -> list[BucketObject]:
    """Return the objects in buckets that may be locked: where the state is, and where it goes."""
    places = dict.fromkeys(place for place in (present_place(folder), next_place(folder)) if place)
    return [place.bucket_object for place in places if place.bucket_object is not None]


def _read(path: Path, *keys: str) -> Mapping[str, object]:
    """Return the JSON object at `keys` in the file; empty if the file or a key is missing."""
    try:
        value: object = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _place(backend: object, config: object) -> StatePlace | None:
    if not isinstance(config, dict):
        return None
    if backend == "s3":
        return StatePlace("s3", str(config["key"]), str(config["bucket"]), str(config["region"]))
    return StatePlace(str(backend), str(config.get("path")))
