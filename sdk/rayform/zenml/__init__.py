"""ZenML's names on Rayform: code written for ZenML imports them from here, under their old paths.

`from zenml.enums import ModelStages` becomes `from rayform.zenml.enums import ModelStages`. Each name does what it does
in ZenML 0.98, or is refused with a sentence that says what to use instead. What Rayform itself has under the same name
is the same object: `rayform.zenml.step is rayform.step`. `docs/from-zenml.md` lists the differences.

The modules below this package that stand in `rayform.zenml.paths` have no files: they are made when they are imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rayform.zenml import finder
from rayform.zenml.paths import EXPORTS, lookup

if TYPE_CHECKING:
    from rayform.artifacts import (
        bulk_log_metadata,
        load_artifact,
        log_metadata,
        register_artifact,
        save_artifact,
    )
    from rayform.authoring.artifact_config import ArtifactConfig
    from rayform.authoring.models import Model
    from rayform.authoring.options.tags import Tag
    from rayform.authoring.pipelines import pipeline
    from rayform.authoring.run_inputs import ExternalArtifact
    from rayform.authoring.steps import step, unmapped
    from rayform.context import get_pipeline_context, get_step_context
    from rayform.tagging import add_tags, remove_tags
    from rayform.zenml.forms.functions import (
        link_artifact_to_model,
        log_artifact_metadata,
        log_model_metadata,
        log_step_metadata,
        show,
    )

__all__ = [
    "ArtifactConfig",
    "ExternalArtifact",
    "Model",
    "Tag",
    "add_tags",
    "bulk_log_metadata",
    "get_pipeline_context",
    "get_step_context",
    "link_artifact_to_model",
    "load_artifact",
    "log_artifact_metadata",
    "log_metadata",
    "log_model_metadata",
    "log_step_metadata",
    "pipeline",
    "register_artifact",
    "remove_tags",
    "save_artifact",
    "show",
    "step",
    "unmapped",
]

finder.install()


def __getattr__(name: str) -> object:
    value = lookup("", name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted(EXPORTS[""])
