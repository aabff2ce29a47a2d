"""A program in ZenML's form runs, and does what it does there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
from typing import Annotated

from rayform.zenml import (
    ArtifactConfig, Model, Tag, add_tags, get_step_context, log_artifact_metadata, pipeline, save_artifact, step,
)
from rayform.zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact
from rayform.zenml.client import Client
from rayform.zenml.config import DockerSettings, StepRetryConfig
from rayform.zenml.enums import ExecutionStatus, ModelStages
from rayform.zenml.exceptions import EntityExistsError
from rayform.zenml.io import fileio
from rayform.zenml.materializers.base_materializer import BaseMaterializer

KEPT = os.environ["KEPT"]


def keep(line):
    with open(KEPT, "a") as file:
        file.write(line + "\\n")


class Point:
    def __init__(self, x):
        self.x = x


class PointMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES = (Point, dict)

    def save(self, data):
        with fileio.open(os.path.join(self.uri, "point.txt"), "w") as file:
            file.write(str(data.x))

    def load(self, data_type):
        with self.artifact_store.open(os.path.join(self.uri, "point.txt")) as file:
            return data_type(int(file.read()))


def succeeded():
    keep(f"success {get_step_context().step_name}")


def failed(error: BaseException):
    context = get_step_context()
    keep(f"failure {context.step_name} {type(error).__name__} {context.pipeline_run.name}")


def ended(error: BaseException | None = None):
    keep(f"end {get_step_context().step_name}")


def prepare(size):
    return {"size": size}


@step
def make() -> tuple[
    Annotated[int, "number"], Annotated[Point, ArtifactConfig(name="point_{lang}", is_model_artifact=True)]
]:
    log_artifact_metadata({"quality": 0.5}, artifact_name="number")
    save_artifact({"rows": 3}, "extra", tags=["side"])
    return 1, Point(3)


@step(
    retry=StepRetryConfig(max_retries=1), settings={"docker": DockerSettings(requirements=["x"])}, extra={"team": "a"}
)
def use(number: int, point: Point, raw: UnmaterializedArtifact) -> tuple[int, int]:
    context = get_step_context()
    assert context.inputs["number"].run_metadata["quality"] == 0.5
    assert point.x == 3 and raw.uri and raw.load().x == 3
    assert set(context.pipeline_run.steps) == {"make", "use"}
    assert context.pipeline_run.config["extra"] == {"release": 2}
    assert context.step_run.config["extra"] == {"team": "a"}
    assert context.pipeline_state == {"size": 5}
    add_tags(["seen"])
    pair = (1, 2)
    return pair


@step
def breaks() -> None:
    raise ValueError("no")


@pipeline(
    on_success=succeeded, on_failure=failed, on_end=ended, on_init=prepare, on_init_kwargs={"size": 5},
    model=Model("digits"), tags=["x", Tag("newest", exclusive=True), Tag("all", cascade=True)],
    substitutions={"lang": "en"}, extra={"release": 2},
)
def program():
    number, point = make()
    use(number, point, point)


@pipeline(on_failure=failed)
def failing():
    breaks()


if __name__ == "__main__":
    first = program()
    second = program()
    client = Client()
    assert second.status == ExecutionStatus.COMPLETED
    assert set(second.steps["make"].outputs) == {"number", "point_en", "extra"}
    assert second.steps["make"].outputs["extra"].load() == {"rows": 3}
    assert second.steps["make"].status == ExecutionStatus.CACHED
    extra = client.get_artifact_version("extra")
    assert extra.step.name == "make" and extra.run.id == first.id
    assert client.get_artifact_version("point_en").type == "model"
    assert "all" in client.get_artifact_version("number").tags
    assert second.steps["use"].output.load() == (1, 2)
    assert "newest" in client.get_pipeline_run(second.id).tags
    assert "newest" not in client.get_pipeline_run(first.id).tags
    assert "seen" in client.get_pipeline_run(first.id).tags
    assert client.get_model_version("digits", ModelStages.LATEST).number == 2
    assert program.model.id == client.get_model_version("digits", 2).id
    try:
        client.get_model("digit")
    except KeyError as error:
        keep(str(error))
    try:
        client.create_model("digits")
    except EntityExistsError:
        keep("exists")
    try:
        get_step_context()
    except RuntimeError:
        keep("no context")
    try:
        failing()
    except Exception as error:
        keep(type(error).__name__)
"""


def test_a_program_in_zenmls_form_runs(tmp_path: Path) -> None:
    """Hooks are inherited and know their step; saved artifacts, tags, substitutions and errors are ZenML's."""
    (tmp_path / "program.py").write_text(PROGRAM)
    kept = tmp_path / "kept.txt"
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home"), "KEPT": str(kept)}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = kept.read_text().splitlines()
    assert lines[:4] == ["success make", "end make", "success use", "end use"]
    assert lines[4] == "There is no model 'digit'. Did you mean 'digits'?"
    assert lines[5:7] == ["exists", "no context"]
    assert lines[7].startswith("failure breaks ValueError failing-")
    assert lines[8:] == ["PipelineFailedError"]
