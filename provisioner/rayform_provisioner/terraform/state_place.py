"""Where Terraform's state lies, and where a root module wants it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["StatePlace", "present_place", "state_objects", "wanted_place"]


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Where a state lies.

    Args:
        backend: `s3` or `local`.
        path: the object's key, or the file in the working folder.
        bucket: the bucket; empty for a file.
        region: the bucket's region, which says nothing about where the state is.
    """

    backend: str
    path: str
    bucket: str = ""
    region: str = field(default="", compare=False)


def present_place(folder: Path) -> StatePlace | None:
    """Return where the state of the working folder `folder` lies; `None` where no `init` has ended there."""
    # Source: Terraform keeps the backend that it was initialised with in `.terraform/terraform.tfstate`.
    told = _json(folder / ".terraform" / "terraform.tfstate", "backend")
    return _place(told.get("type"), told.get("config"))


def wanted_place(folder: Path) -> StatePlace | None:
    """Return where the root module in `folder` wants the state; `None` where there is no root module."""
    for backend, config in _json(folder / "main.tf.json", "terraform", "backend").items():
        return _place(backend, config)
    return None


def state_objects(folder: Path) -> list[tuple[str, str, str]]:
    """Return region, bucket and key of what may be locked in buckets: where the state lies, and where it goes."""
    places = dict.fromkeys(place for place in (present_place(folder), wanted_place(folder)) if place)
    return [(place.region, place.bucket, place.path) for place in places if place.backend == "s3"]


def _json(path: Path, *keys: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _place(backend: Any, config: Any) -> StatePlace | None:
    if not isinstance(config, dict):
        return None
    if backend == "s3":
        return StatePlace("s3", str(config["key"]), str(config["bucket"]), str(config["region"]))
    return StatePlace(str(backend), str(config.get("path")))
