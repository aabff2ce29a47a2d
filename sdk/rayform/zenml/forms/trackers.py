"""The experiment tracker of all stacks: MLflow, if it is installed."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

from rayform_core.errors import PrerequisiteError
from rayform_core.files import home, private_folder

__all__ = ["MlflowTracker", "get_tracking_uri", "tracked"]

_RUN_TAG = "rayform.run_id"


class MlflowTracker:
    """MLflow, as a step's `experiment_tracker`.

    While a step with `experiment_tracker="mlflow"` runs, an MLflow run is active, so that `mlflow.log_metric(...)` and
    `mlflow.autolog()` write to it. The experiment is the pipeline; all steps of a run share one MLflow run of its name.
    `MLFLOW_TRACKING_URI` says where it is kept; by default in a database below `RAYFORM_HOME`.
    """

    name = "mlflow"
    flavor = "mlflow"

    def get_tracking_uri(self) -> str:
        """Return where MLflow keeps its runs."""
        return get_tracking_uri()

    def configure_mlflow(self) -> None:
        """Let `mlflow` in this process use this place."""
        _mlflow().set_tracking_uri(get_tracking_uri())

    def __repr__(self) -> str:
        return "MlflowTracker()"


def get_tracking_uri() -> str:
    """Return where MLflow keeps its runs: `$MLFLOW_TRACKING_URI`, or a database below `RAYFORM_HOME`."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    folder = home() / "mlflow"
    private_folder(folder)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _mlflow() -> Any:
    try:
        return importlib.import_module("mlflow")
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "A step has experiment_tracker='mlflow', and MLflow isn't installed.",
            hint="Install it: pip install mlflow. Or remove the option.",
        ) from error


@contextlib.contextmanager
def tracked(pipeline: str, run_name: str, run_id: str) -> Iterator[None]:
    """Make the MLflow run of a pipeline's run the active one.

    Args:
        pipeline: the experiment's name.
        run_name, run_id: the pipeline's run; all its steps share one MLflow run.

    Raises:
        PrerequisiteError: MLflow isn't installed.
    """
    mlflow = _mlflow()
    mlflow.set_tracking_uri(get_tracking_uri())
    mlflow.set_experiment(pipeline)
    known = mlflow.search_runs(
        experiment_names=[pipeline], filter_string=f"tags.`{_RUN_TAG}` = '{run_id}'", output_format="list"
    )
    if known:
        active = mlflow.start_run(run_id=known[0].info.run_id)
    else:
        active = mlflow.start_run(run_name=run_name, tags={_RUN_TAG: run_id})
    with active:
        try:
            yield
        finally:
            mlflow.autolog(disable=True, silent=True)
