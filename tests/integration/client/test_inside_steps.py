"""Metadata, artifacts and models from inside running steps, read again by the client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rayform.reading.client import Client

TRAINING = """
from typing import Annotated
from rayform import ArtifactConfig, Client, Model, log_metadata, pipeline, register_artifact, save_artifact, step

@step
def train() -> tuple[
    Annotated[dict[str, float], ArtifactConfig(name="classifier", artifact_type="model")],
    Annotated[str, "report"],
]:
    log_metadata({"in_step": 1})
    log_metadata({"accuracy": 0.9}, infer_artifact=True, artifact_name="classifier")
    log_metadata({"f1": 0.8}, infer_model=True)
    side = save_artifact([1], "side", tags=["made-inside"])
    log_metadata({"seen": True}, artifact_version_id=side.id)
    assert Client().active_stack.name == "default"
    assert Model("toy").number is not None
    return {"w": 1.0}, "ok"

@step(enable_cache=False)
def promote() -> None:
    Model("toy").set_stage("production", force=True)

@pipeline(model=Model("toy", license="MIT", tags=["t"], metadata={"team": "a"}))
def training() -> None:
    train()
    promote(after="train")

if __name__ == "__main__":
    training()
"""
INFERENCE = """
from pathlib import Path
from rayform import Client, Model, get_step_context, pipeline, step

@step
def predict(weights: dict[str, float], raw: Path) -> float:
    assert get_step_context().model.stage == "production"
    return weights["w"] * len(raw.read_text())

@pipeline(model=Model("toy", version="production"))
def inference() -> None:
    predict(Client().get_model_version("toy", "production").get_artifact("classifier"),
            Client().get_artifact_version("raw"))

if __name__ == "__main__":
    run = inference()
    print("answer", run.steps["predict"].output.load())
"""


def run_script(project: Path, name: str, text: str) -> str:
    """Run a script in the project and return what it printed."""
    (project / name).write_text(text)
    done = subprocess.run([sys.executable, name], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_training_and_inference(project: Path) -> None:
    """What steps log, save and promote is there afterwards, and a later pipeline takes the production version."""
    from rayform.artifacts import register_artifact

    run_script(project, "training.py", TRAINING)
    with Client() as client:
        run = client.list_pipeline_runs()[0]
        classifier = run.steps["train"].outputs["classifier"]
        assert run.steps["train"].run_metadata["in_step"] == 1
        assert classifier.run_metadata["accuracy"] == 0.9
        assert classifier.type == "model"
        version = client.get_model_version("toy", "production")
        assert version.run_metadata == {"team": "a", "f1": 0.8}
        assert {a.name for a in version.artifact_versions} >= {"classifier", "report", "side"}
        assert version.get_model_artifact("classifier") == client.get_artifact_version(classifier.id)
        assert list(version.pipeline_runs) == [run.name]
        assert client.get_artifact_version("side").run_metadata["seen"] is True
        client.artifact_store.put_bytes("raw/data.txt", b"12345")
        register_artifact("raw/data.txt", "raw")
    assert "answer 5.0" in run_script(project, "inference.py", INFERENCE)
    with Client() as client:
        run = client.get_pipeline("inference").last_successful_run
        assert run.model_version == version
        tree = client.get_lineage(run.steps["predict"].output.id).to_tree()
        assert "made by step train" in tree
        assert "raw 1" in tree
