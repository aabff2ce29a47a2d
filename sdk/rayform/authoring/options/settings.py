"""`settings=`: ZenML's form of a step's image and resources, and of what only other orchestrators have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from rayform_core.errors import UsageError, nearest

if TYPE_CHECKING:
    from rayform_runtime.spec import ImageSpec, Resources

__all__ = ["ReadSettings", "read_settings"]

_KINDS = (
    "alerter", "annotator", "artifact_store", "container_registry", "data_validator", "deployer", "deployment",
    "experiment_tracker", "feature_store", "image_builder", "log_store", "model_deployer", "model_registry",
    "orchestrator", "sandbox", "step_operator",
)  # fmt: skip
"""Kinds of components of ZenML's stacks, whose settings Rayform can't follow."""
_FOREIGN = re.compile(rf"(?:{'|'.join(_KINDS)})(?:[.:]\w+)*")


class ReadSettings(NamedTuple):
    """What settings ask for.

    Args:
        image, resources: what `docker` and `resources` mean; `None` if they are not set.
        ignored: what Rayform can't follow, as texts for users.
    """

    image: ImageSpec | None = None
    resources: Resources | None = None
    ignored: tuple[str, ...] = ()


def read_settings(settings: Mapping[str, object], *, what: str) -> ReadSettings:
    """Return what the settings of a step or pipeline ask for.

    Args:
        settings: by key: `docker`, `resources`, or a kind of ZenML's components, with or without its flavor
            (`orchestrator.kubernetes`).
        what: how an error names the step or pipeline.

    Raises:
        UsageError: a key doesn't exist, or one of its settings doesn't; names the nearest ones.
    """
    if not settings:
        return ReadSettings()
    from rayform.zenml.forms.settings import DockerSettings, ResourceSettings

    image = resources = None
    ignored: list[str] = []
    for key, value in settings.items():
        if key == "docker":
            docker = DockerSettings.of(value, what=what)
            image = docker.to_image_spec()
            ignored += docker.ignored
        elif key == "resources":
            wanted = ResourceSettings.of(value, what=what)
            resources = wanted.to_resources()
            ignored += wanted.ignored
        elif _FOREIGN.fullmatch(key):
            ignored.append(f"settings['{key}']")
        else:
            known = ["docker", "resources", *_KINDS]
            close = nearest(key, known)
            raise UsageError(
                f"{what} has settings '{key}', which don't exist.",
                hint=f"Did you mean '{close[0]}'?"
                if close
                else "Keys that have an effect: docker, resources.",
            )
    return ReadSettings(image, resources, tuple(ignored))
