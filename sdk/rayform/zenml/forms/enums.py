"""ZenML's enumerations; those of Rayform are the same objects."""

from __future__ import annotations

import logging
from enum import Enum, StrEnum

from rayform_runtime.catalog.entities import ModelStage, RunStatus, StepStatus
from rayform_runtime.spec import ArtifactType

__all__ = [
    "ArtifactType",
    "ExecutionStatus",
    "LoggingLevels",
    "ModelStages",
    "PythonEnvironmentExportMethod",
    "PythonPackageInstaller",
    "RunStatus",
    "SourceFileMode",
    "StackComponentType",
    "StepStatus",
    "TaggableResourceTypes",
    "VisualizationType",
]


class ModelStages(StrEnum):
    """The stages of a model version, and `LATEST`, which means the newest one."""

    NONE = ModelStage.NONE.value
    STAGING = ModelStage.STAGING.value
    PRODUCTION = ModelStage.PRODUCTION.value
    ARCHIVED = ModelStage.ARCHIVED.value
    LATEST = "latest"


class ExecutionStatus(StrEnum):
    """How a run or a step stands; equal to Rayform's status of the same name."""

    INITIALIZING = RunStatus.INITIALIZING.value
    RUNNING = RunStatus.RUNNING.value
    FAILED = RunStatus.FAILED.value
    COMPLETED = RunStatus.COMPLETED.value
    CACHED = StepStatus.CACHED.value
    SKIPPED = StepStatus.SKIPPED.value
    RETRYING = StepStatus.RETRYING.value
    STOPPED = RunStatus.STOPPED.value

    @property
    def is_finished(self) -> bool:
        """Whether it changes no more."""
        return self.value in ("failed", "completed", "cached", "stopped")

    @property
    def is_successful(self) -> bool:
        """Whether results can be used."""
        return self.value in ("completed", "cached")


class VisualizationType(StrEnum):
    """Kinds of visualizations."""

    CSV = "csv"
    HTML = "html"
    IMAGE = "image"
    MARKDOWN = "markdown"
    JSON = "json"


class StackComponentType(StrEnum):
    """Kinds of components of a stack. Rayform has four of them: the other names are ZenML's alone."""

    ALERTER = "alerter"
    ANNOTATOR = "annotator"
    ARTIFACT_STORE = "artifact_store"
    CONTAINER_REGISTRY = "container_registry"
    DATA_VALIDATOR = "data_validator"
    EXPERIMENT_TRACKER = "experiment_tracker"
    FEATURE_STORE = "feature_store"
    IMAGE_BUILDER = "image_builder"
    MODEL_DEPLOYER = "model_deployer"
    MODEL_REGISTRY = "model_registry"
    ORCHESTRATOR = "orchestrator"
    STEP_OPERATOR = "step_operator"


class TaggableResourceTypes(StrEnum):
    """What can have tags."""

    ARTIFACT = "artifact"
    ARTIFACT_VERSION = "artifact_version"
    MODEL = "model"
    MODEL_VERSION = "model_version"
    PIPELINE_RUN = "pipeline_run"


class LoggingLevels(Enum):
    """Levels of log lines."""

    NOTSET = logging.NOTSET
    DEBUG = logging.DEBUG
    INFO = logging.INFO
    WARNING = logging.WARNING
    ERROR = logging.ERROR
    CRITICAL = logging.CRITICAL


class PythonPackageInstaller(Enum):
    """Installers of Python packages; Rayform's images choose for themselves."""

    PIP = "pip"
    UV = "uv"


class PythonEnvironmentExportMethod(Enum):
    """Ways to list the packages of this environment; `DockerSettings` reports that they are ignored."""

    PIP_FREEZE = "pip_freeze"
    UV_FREEZE = "uv_freeze"
    POETRY_EXPORT = "poetry_export"


class SourceFileMode(Enum):
    """Ways to bring code into an image; Rayform sends a bundle of the project's code."""

    INCLUDE = "include"
    DOWNLOAD_OR_INCLUDE = "download_or_include"
    DOWNLOAD = "download"
    IGNORE = "ignore"
