"""What `Client` answers with: the catalog's records, with ways to load values and walk to what belongs to them.

Names and shapes are ZenML's responses where the idea is the same. Reading them imports no materializer and no
library of the value's until `.load()`.
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
