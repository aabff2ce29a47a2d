"""A stack with runs, artifacts and models in it, written through the real catalog and the real local store."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rayform.reading.client import Client
from rayform_core.ids import new_id
from rayform_runtime.artifacts.values import save_value
from rayform_runtime.catalog.entities import (
    ArtifactVersion,
    NewArtifactVersion,
    NewRun,
    RunStatus,
    StepError,
    StepFinish,
    StepStart,
    StepStatus,
)
from rayform_runtime.spec import PipelineSpec, SourceRef, StepSpec

PIPELINE = PipelineSpec(
    name="train",
    source=SourceRef(module="project", qualname="train"),
    steps=[
        StepSpec(key=key, name=key, source=SourceRef(module="project", qualname=key), after=after)
        for key, after in (("loader", []), ("trainer", ["loader"]), ("score", ["trainer"]))
    ],
)


class Seeder:
    """Writes runs step by step, as the scheduler does."""

    def __init__(
        self, client: Client, name: str, *, pipeline: str = "train", model: UUID | None = None
    ) -> None:
        self.client = client
        self.model = model
        self.run = client.catalog.create_run(
            NewRun(
                id=new_id(),
                name=name,
                pipeline=pipeline,
                spec=PIPELINE.model_dump(mode="json"),
                stack_name="default",
                stack={},
                parameters={"epochs": 3},
                tags=["nightly"],
                user="someone",
                model_version_id=model,
            )
        )

    def step(
        self,
        key: str,
        outputs: dict[str, Any],
        *,
        inputs: dict[str, list[UUID]] | None = None,
        map_index: int | None = None,
        log: str | None = None,
        error: StepError | None = None,
        artifact_types: dict[str, str] | None = None,
    ) -> list[ArtifactVersion]:
        """Run a step that returns `outputs`, or fails with `error`."""
        catalog, store = self.client.catalog, self.client.artifact_store
        step_id = new_id()
        log_uri = None
        if log is not None:
            log_uri = store.put_bytes(f"logs/{self.run.id}/{step_id}.log", log.encode())
        catalog.start_steps(
            [
                StepStart(
                    id=step_id,
                    run_id=self.run.id,
                    key=key,
                    name=key,
                    map_index=map_index,
                    parameters={"rate": 0.1},
                    inputs=inputs or {},
                    source=f"project:{key}",
                    code_digest="c0de" * 16,
                    log_uri=log_uri,
                )
            ]
        )
        new = []
        for name, value in outputs.items():
            version_id = new_id()
            saved = save_value(store, version_id, value, step=key, output=name)
            new.append(
                NewArtifactVersion(
                    id=version_id,
                    artifact_name=name,
                    uri=saved.uri,
                    type=saved.manifest.type,
                    materializer=saved.manifest.materializer,
                    digest=saved.manifest.digest,
                    size=saved.manifest.size,
                    artifact_type=(artifact_types or {}).get(name, saved.artifact_type),
                    metadata=saved.manifest.metadata,
                    output_name=name,
                )
            )
        status = StepStatus.FAILED if error else StepStatus.COMPLETED
        finish = StepFinish(
            id=step_id,
            run_id=self.run.id,
            status=status,
            outputs=new,
            error=error,
            metadata={"seconds": 1.5},
            model_version_id=self.model,
        )
        return catalog.finish_steps([finish])[0]

    def finish(self, status: RunStatus = RunStatus.COMPLETED, error: StepError | None = None) -> None:
        """End the run."""
        self.client.catalog.finish_run(self.run.id, status, error)


def seed_training_run(client: Client, name: str = "train-1", *, model: UUID | None = None) -> dict[str, Any]:
    """Write a completed run: loader → trainer → three instances of score; returns versions by output name."""
    seeder = Seeder(client, name, model=model)
    (data,) = seeder.step("loader", {"data": [1, 2, 3]}, log="loading\nloaded 3 rows\n")
    trained, report = seeder.step(
        "trainer",
        {"model": {"weights": [0.5]}, "report": "fine"},
        inputs={"rows": [data.id]},
        log="epoch 1\n",
        artifact_types={"model": "model"},
    )
    scores = [
        seeder.step("score", {"scores": i * 10}, inputs={"model": [trained.id]}, map_index=i)[0]
        for i in range(3)
    ]
    seeder.finish()
    return {"run": seeder.run, "data": data, "model": trained, "report": report, "scores": scores}
