"""What a worker needs to know of a step: the parts of its spec, as named tuples that pickle well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rayform_runtime.usercode.code_ref import CodeRef

if TYPE_CHECKING:
    from rayform_runtime.spec import OutputSpec, Resources, StepSpec

__all__ = ["KeptParts", "OutputFacts", "StepFacts", "StepHooks", "StepResources"]


class OutputFacts(NamedTuple):
    """The parts of `spec.OutputSpec` that a worker needs."""

    name: str
    artifact_name: str
    type: CodeRef | None = None
    materializer: CodeRef | None = None
    artifact_type: str | None = None
    version: str | None = None
    tags: Sequence[str] = ()
    run_metadata: Mapping[str, object] = {}

    @classmethod
    def of(cls, spec: OutputSpec) -> OutputFacts:
        """Return the facts of an output."""
        return cls(
            spec.name,
            spec.artifact_name,
            CodeRef.of(spec.type),
            CodeRef.of(spec.materializer),
            spec.artifact_type.value if spec.artifact_type is not None else None,
            spec.version,
            spec.tags,
            spec.run_metadata,
        )


class StepResources(NamedTuple):
    """The fields of `spec.Resources`."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None
    accelerator_type: str | None = None
    custom: Mapping[str, float] = {}

    @classmethod
    def of(cls, spec: Resources) -> StepResources:
        """Return the fields of a spec."""
        return cls(spec.cpus, spec.gpus, spec.memory, spec.accelerator_type, spec.custom)


class StepHooks(NamedTuple):
    """The user's functions that are called around a step; see `spec.StepSpec`."""

    on_failure: CodeRef | None = None
    on_success: CodeRef | None = None
    on_start: CodeRef | None = None
    on_end: CodeRef | None = None
    on_init: CodeRef | None = None
    on_cleanup: CodeRef | None = None
    on_init_kwargs: Mapping[str, object] = {}
    around: CodeRef | None = None

    @classmethod
    def of(cls, spec: StepSpec) -> StepHooks:
        """Return the hooks of a step."""
        return cls(
            CodeRef.of(spec.on_failure),
            CodeRef.of(spec.on_success),
            CodeRef.of(spec.on_start),
            CodeRef.of(spec.on_end),
            CodeRef.of(spec.on_init),
            CodeRef.of(spec.on_cleanup),
            spec.on_init_kwargs,
            CodeRef.of(spec.around),
        )

    def moved(self, old_root: str, new_root: Path) -> StepHooks:
        """Return the same hooks with the project's code at another place; see `CodeRef.moved`."""

        def move(ref: CodeRef | None) -> CodeRef | None:
            return None if ref is None else ref.moved(old_root, new_root)

        return self._replace(
            on_failure=move(self.on_failure),
            on_success=move(self.on_success),
            on_start=move(self.on_start),
            on_end=move(self.on_end),
            on_init=move(self.on_init),
            on_cleanup=move(self.on_cleanup),
        )


class KeptParts(NamedTuple):
    """What is kept of a step, in addition to its outputs: facts and pictures that materializers make, and the log."""

    metadata: bool = True
    visualizations: bool = True
    logs: bool = True


class StepFacts(NamedTuple):
    """The parts of `spec.StepSpec` that executors and workers need.

    A named tuple and no pydantic model: building pydantic's models would take longer than the rest of a worker's
    start. The scheduler sends what pydantic has validated.

    Args:
        key: its unique name in the pipeline.
        name: the function's name.
        source: the function.
        outputs: in the order in which the function returns them.
        hooks: called in the worker.
        resources: what the step needs while it runs.
        timeout: in seconds.
        environment: variables, in addition to the pipeline's.
        kept: what is kept of the step, in addition to its outputs.
    """

    key: str
    name: str
    source: CodeRef
    outputs: Sequence[OutputFacts] = ()
    hooks: StepHooks = StepHooks()
    resources: StepResources = StepResources()
    timeout: float | None = None
    environment: Mapping[str, str] = {}
    kept: KeptParts = KeptParts()

    @classmethod
    def of(cls, spec: StepSpec) -> StepFacts:
        """Return the facts of a step."""
        return cls(
            spec.key,
            spec.name,
            CodeRef.of(spec.source),
            tuple(OutputFacts.of(output) for output in spec.outputs),
            StepHooks.of(spec),
            StepResources.of(spec.resources),
            spec.timeout,
            spec.environment,
            KeptParts(
                spec.enable_artifact_metadata, spec.enable_artifact_visualization, spec.enable_step_logs
            ),
        )

    def moved(self, old_root: str, new_root: Path) -> StepFacts:
        """Return the same step with the project's code at another place; see `CodeRef.moved`."""

        def move(ref: CodeRef | None) -> CodeRef | None:
            return None if ref is None else ref.moved(old_root, new_root)

        return self._replace(
            source=self.source.moved(old_root, new_root),
            outputs=tuple(
                output._replace(type=move(output.type), materializer=move(output.materializer))
                for output in self.outputs
            ),
            hooks=self.hooks.moved(old_root, new_root),
        )
