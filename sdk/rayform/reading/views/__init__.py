"""What `Client` returns: the catalog's records, with methods that load values and lead to related records.

Names and shapes are those of ZenML's responses where the idea is the same. No materializer, and no library that a value
needs, is imported before `.load()`.
"""

from rayform.reading.views.artifacts import ArtifactVersionView, ArtifactView, Output
from rayform.reading.views.base import Page, View
from rayform.reading.views.models import ModelVersionView, ModelView
from rayform.reading.views.runs import MappedStepView, PipelineView, RunView, StepRunView

__all__ = [
    "ArtifactVersionView",
    "ArtifactView",
    "MappedStepView",
    "ModelVersionView",
    "ModelView",
    "Output",
    "Page",
    "PipelineView",
    "RunView",
    "StepRunView",
    "View",
]
