"""Functions of ZenML that Rayform has in another form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.artifacts import log_metadata
from rayform.running_step import running_model_version, running_step
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.authoring.models import Model
    from rayform.reading.views import ArtifactVersionView, ModelVersionView, RunView, StepRunView

__all__ = [
    "Environment",
    "cleanup_gpu_memory",
    "get_model_version_url",
    "get_producer_step_of_artifact",
    "get_run_url",
    "link_artifact_to_model",
    "load_artifact_from_response",
    "load_artifact_visualization",
    "log_artifact_metadata",
    "log_model_metadata",
    "log_step_metadata",
    "show",
]


# -- metadata -----------------------------------------------------------------------------------------------
def log_artifact_metadata(
    metadata: Mapping[str, object],
    artifact_name: str | None = None,
    artifact_version: str | int | None = None,
) -> None:
    """Add metadata to an artifact version.

    Args:
        metadata: values by name.
        artifact_name: inside a step, one of its outputs, or another artifact; by default the step's only output.
        artifact_version: the artifact's version; by default the step's output, or the latest version.

    Raises:
        UsageError: nothing is named outside of a step, or the step has several outputs.
        NotFoundError: there is no such artifact.
    """
    step = running_step()
    if step is not None and artifact_version is None:
        names = step.output_names
        if artifact_name is None or artifact_name in names:
            log_metadata(metadata, infer_artifact=True, artifact_name=artifact_name)
            return
    if artifact_name is None:
        raise UsageError(
            "log_artifact_metadata is called outside of a step and names no artifact.",
            hint="Name it: artifact_name='NAME'.",
        )
    log_metadata(metadata, artifact_name=artifact_name, artifact_version=artifact_version)


def log_model_metadata(
    metadata: Mapping[str, object], model_name: str | None = None, model_version: str | int | None = None
) -> None:
    """Add metadata to a model version, inside a step to the one that the step works on.

    Raises:
        UsageError: nothing is named outside of a step.
        NotFoundError: there is no such model version.
    """
    if model_name is None:
        log_metadata(metadata, infer_model=True)
        return
    log_metadata(metadata, model_name=model_name, model_version=model_version or "latest")


def log_step_metadata(
    metadata: Mapping[str, object],
    step_name: str | None = None,
    pipeline_name_id_or_prefix: str | UUID | None = None,
    run_id: str | UUID | None = None,
) -> None:
    """Add metadata to a step run, inside a step to its own.

    Args:
        metadata: values by name.
        step_name: the step's key; by default the running step.
        pipeline_name_id_or_prefix: its pipeline, whose newest run is meant.
        run_id: its run.

    Raises:
        UsageError: nothing is named outside of a step.
        NotFoundError: there is no such step run.
    """
    if step_name is None:
        log_metadata(metadata)
        return
    if run_id is None:
        from rayform.reading.client import Client

        if pipeline_name_id_or_prefix is None:
            raise UsageError(
                f"log_step_metadata names step '{step_name}' and no run.",
                hint="Add run_id=… or pipeline_name_id_or_prefix=….",
            )
        run_id = Client().get_pipeline(str(pipeline_name_id_or_prefix)).last_run.id
    log_metadata(metadata, step_name=step_name, run_id_name_or_prefix=run_id)


# -- artifacts and models -----------------------------------------------------------------------------------
def link_artifact_to_model(artifact_version: ArtifactVersionView, model: Model | None = None) -> None:
    """Link a stored artifact version to a model version.

    Args:
        artifact_version: the version.
        model: the model version; by default the one that the running step works on.

    Raises:
        UsageError: no model is given, and no step with a model is running.
    """
    from rayform.reading.client import Client

    model_version = running_model_version() if model is None else model.id
    if model_version is None:
        raise UsageError(
            "link_artifact_to_model is called without a model, and no step with a model is running.",
            hint="Give the model: link_artifact_to_model(version, model=Model(NAME)).",
        )
    Client().catalog.link_model_version(model_version, artifact_version_ids=[artifact_version.id])


def load_artifact_from_response(artifact: ArtifactVersionView) -> Any:
    """Load the value of an artifact version; `artifact.load()` does the same."""
    return artifact.load()


def load_artifact_visualization(artifact: ArtifactVersionView, index: int = 0, **_: object) -> str | bytes:
    """Return the content of one of a version's visualizations.

    Raises:
        NotFoundError: the version has no visualization of this number.
    """
    from rayform.reading.visualizations import read
    from rayform_core.errors import NotFoundError

    if not 0 <= index < len(artifact.visualizations):
        raise NotFoundError("visualization", str(index), within=f"of artifact '{artifact.name}'")
    name = artifact.visualizations[index].name
    return read(artifact.record, artifact.client.artifact_store, name)[name][1]


def get_producer_step_of_artifact(artifact: ArtifactVersionView) -> StepRunView:
    """Return the step run that made a version.

    Raises:
        NotFoundError: no step made it, or its run was deleted.
    """
    from rayform_core.errors import NotFoundError

    step = artifact.step
    if step is None:
        raise NotFoundError("step run that made artifact version", str(artifact.id))
    return step


# -- around steps -------------------------------------------------------------------------------------------
def get_run_url(run: RunView) -> str | None:
    """Return `None`: a run has no web page of its own; `rayform runs describe` shows it."""
    return None


def get_model_version_url(model_version: ModelVersionView | UUID | str) -> str:
    """Return an empty text: a model version has no web page of its own; `rayform model describe` shows it."""
    return ""


def show(*_: object, **__: object) -> None:
    """Refuse to open ZenML's dashboard.

    Raises:
        UsageError: always; it names the commands that show runs.
    """
    raise UsageError(
        "Rayform doesn't open a dashboard from Python.",
        hint="`rayform runs list`, `rayform model list` and `rayform artifact list` show what there is.",
    )


def cleanup_gpu_memory(force: bool = False) -> None:
    """Free the GPU memory that PyTorch's cache holds in this process; other processes keep theirs.

    Args:
        force: without it, nothing is done, as in ZenML.
    """
    if not force:
        return
    import gc
    import sys

    torch = sys.modules.get("torch")
    gc.collect()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


class Environment:
    """Facts about where this code runs."""

    @staticmethod
    def in_notebook() -> bool:
        """Whether this is a notebook."""
        import sys

        return "ipykernel" in sys.modules

    @staticmethod
    def in_docker() -> bool:
        """Whether this is a Docker container."""
        from pathlib import Path

        return Path("/.dockerenv").exists()

    @staticmethod
    def python_version() -> str:
        """Return Python's version."""
        import platform

        return platform.python_version()
