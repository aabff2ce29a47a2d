"""Rayform: turns a stack definition into real infrastructure and runs machine-learning pipelines on it.

Users import everything from here. Each name is resolved on first use, so that `import rayform` takes only a few
milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.version import __version__

if TYPE_CHECKING:
    from rayform.artifacts import (
        bulk_log_metadata,
        load_artifact,
        log_metadata,
        register_artifact,
        save_artifact,
    )
    from rayform.authoring.artifact_config import ArtifactConfig
    from rayform.authoring.flow.conditions import when
    from rayform.authoring.flow.futures import StepFailedError, StepSkippedError
    from rayform.authoring.models import Model
    from rayform.authoring.options.tags import Tag
    from rayform.authoring.pipelines import Pipeline, pipeline
    from rayform.authoring.run_inputs import ExternalArtifact
    from rayform.authoring.steps import Step, step, unmapped
    from rayform.context import get_pipeline_context, get_step_context
    from rayform.logger import get_logger
    from rayform.reading.client import Client
    from rayform.tagging import add_tags, remove_tags
    from rayform_core.errors import RayformError
    from rayform_runtime.catalog.entities import ModelStage
    from rayform_runtime.spec import ArtifactType, ImageSpec, Resources, RetryPolicy

_HOMES = {
    "ArtifactConfig": "rayform.authoring.artifact_config",
    "ArtifactType": "rayform_runtime.spec",
    "Client": "rayform.reading.client",
    "ExternalArtifact": "rayform.authoring.run_inputs",
    "ImageSpec": "rayform_runtime.spec",
    "Model": "rayform.authoring.models",
    "ModelStage": "rayform_runtime.catalog.entities",
    "Pipeline": "rayform.authoring.pipelines",
    "RayformError": "rayform_core.errors",
    "Resources": "rayform_runtime.spec",
    "RetryPolicy": "rayform_runtime.spec",
    "Step": "rayform.authoring.steps",
    "Tag": "rayform.authoring.options.tags",
    "add_tags": "rayform.tagging",
    "bulk_log_metadata": "rayform.artifacts",
    "StepFailedError": "rayform.authoring.flow.futures",
    "StepSkippedError": "rayform.authoring.flow.futures",
    "get_logger": "rayform.logger",
    "load_artifact": "rayform.artifacts",
    "log_metadata": "rayform.artifacts",
    "register_artifact": "rayform.artifacts",
    "remove_tags": "rayform.tagging",
    "save_artifact": "rayform.artifacts",
    "get_pipeline_context": "rayform.context",
    "get_step_context": "rayform.context",
    "pipeline": "rayform.authoring.pipelines",
    "step": "rayform.authoring.steps",
    "unmapped": "rayform.authoring.steps",
    "when": "rayform.authoring.flow.conditions",
}

__all__ = [
    "ArtifactConfig",
    "ArtifactType",
    "Client",
    "ExternalArtifact",
    "ImageSpec",
    "Model",
    "ModelStage",
    "Pipeline",
    "RayformError",
    "Resources",
    "RetryPolicy",
    "Step",
    "StepFailedError",
    "StepSkippedError",
    "Tag",
    "__version__",
    "add_tags",
    "bulk_log_metadata",
    "get_logger",
    "get_pipeline_context",
    "get_step_context",
    "load_artifact",
    "log_metadata",
    "pipeline",
    "register_artifact",
    "remove_tags",
    "save_artifact",
    "step",
    "unmapped",
    "when",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rayform' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
