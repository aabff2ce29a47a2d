"""The traced pipeline: plain pydantic models that travel as JSON between laptop and head.

`rayform.authoring.pipelines` makes a `PipelineSpec`, and `rayform_runtime.execution` runs it. The catalog keeps it with
the run: `resume` and `spin` start from there. Nothing in here holds a live Python object.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ANY_STEP",
    "ArtifactInput",
    "ArtifactType",
    "Condition",
    "ElementInput",
    "ImageSpec",
    "Input",
    "ListInput",
    "MapInput",
    "ModelSpec",
    "OutputSpec",
    "ParameterInput",
    "PipelineSpec",
    "Resources",
    "RetryPolicy",
    "SourceRef",
    "StepInput",
    "StepSpec",
    "ValueInput",
]


ANY_STEP = "*"
"""Stands for every step of a dynamic pipeline that has no image of its own."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArtifactType(StrEnum):
    """What kind of thing an artifact is for its users; the names are ZenML's."""

    DATA = "data"
    DATA_ANALYSIS = "data_analysis"
    MODEL = "model"
    SERVICE = "service"
    STATISTICS = "statistics"
    SCHEMA = "schema"
    BASE = "base"


class SourceRef(_Spec):
    """Where a worker finds a function or class.

    Args:
        module: import path of its module, `"__main__"` for a script or a notebook.
        qualname: its qualified name in that module.
        file: the absolute path of its file, if it has one, on the machine that traced it; a script that is
            `__main__` is loaded from here.
        pickled: base64 of a cloudpickle payload, for functions without a file that a worker could import
            (notebook cells, closures).
    """

    module: str
    qualname: str
    file: str | None = None
    pickled: str | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"


class Resources(_Spec):
    """The resources of one step while it runs. Meaning and units are Ray's.

    Args:
        cpus: logical CPUs, fractions allowed; 1 by default.
        gpus: logical GPUs, fractions up to 1 allowed.
        memory: bytes; `None` reserves none.
        accelerator_type: for instance `"T4"` or `"A100"`; `None` takes any.
        custom: further Ray resources by name.
    """

    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    memory: int | None = Field(default=None, gt=0)
    accelerator_type: str | None = None
    custom: dict[str, float] = Field(default_factory=dict)


class RetryPolicy(_Spec):
    """How often, and when, a failed step is tried again.

    Args:
        max_retries: tries after the first.
        delay: seconds before the first retry.
        backoff: factor on the delay from one retry to the next.
    """

    max_retries: int = Field(default=0, ge=0)
    delay: float = Field(default=0.0, ge=0)
    backoff: float = Field(default=1.0, ge=1)


class ImageSpec(_Spec):
    """What a step's container image holds on top of the base image. Used if the stack runs steps in images.

    Args:
        base_image: image to start from; `None` takes the stack's base image.
        requirements: pip requirements, or one path to a requirements file, or `"pyproject"` for the
            project's own pyproject.toml; `None` adds none.
        apt_packages: Debian packages.
        environment: variables set in the image; never secrets.
        files: `{path in the image: path on this machine}`.
        dockerfile: path of a user-defined Dockerfile; then of the other fields only `build_args` is used.
        build_args: arguments of the image build.
        ca_bundle: path of a PEM file with the certificate authorities of a closed network.
        index_url: package index of a closed network; credentials in it are refused.
        extra_index_urls: further package indexes.
    """

    base_image: str | None = None
    requirements: list[str] | str | None = None
    apt_packages: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    dockerfile: str | None = None
    build_args: dict[str, str] = Field(default_factory=dict)
    ca_bundle: str | None = None
    index_url: str | None = None
    extra_index_urls: list[str] = Field(default_factory=list)


class ModelSpec(_Spec):
    """The model that a pipeline's or a step's artifacts and metadata belong to.

    Args:
        name: the model.
        version: a version's name or number, or a stage (`"production"`, `"latest"`); `None` makes a new one.
        description, license: free text.
        tags: tags of the version.
        metadata: typed JSON metadata of the version.
    """

    name: str
    version: str | None = None
    description: str | None = None
    license: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class StepInput(_Spec):
    """The input is the output of an earlier step of this run."""

    kind: Literal["step"] = "step"
    step: str
    output: str


class MapInput(_Spec):
    """The input is one element of the list that an earlier step returns; the step runs once per element."""

    kind: Literal["map"] = "map"
    step: str
    output: str


class ElementInput(_Spec):
    """The input is one element of the list that an earlier step returned, in a dynamic pipeline."""

    kind: Literal["element"] = "element"
    step: str
    output: str
    index: int = Field(ge=0)


class ArtifactInput(_Spec):
    """The input is a stored artifact version, by its ID (resolved when the pipeline is traced)."""

    kind: Literal["artifact"] = "artifact"
    artifact_version_id: str


class ParameterInput(_Spec):
    """The input is a parameter of the pipeline, by its name in `PipelineSpec.parameters`."""

    kind: Literal["parameter"] = "parameter"
    parameter: str


class ValueInput(_Spec):
    """The input is a value from code or configuration.

    Args:
        value: plain JSON, which users see and filter by.
        exact: the text that the worker makes the value of, if the JSON isn't the value itself; see
            `artifacts.exact_values`.
    """

    kind: Literal["value"] = "value"
    value: Any
    exact: str | None = None


class ListInput(_Spec):
    """The input is a list whose elements are outputs of earlier steps or stored versions, in this order.

    Args:
        items: the elements.
        is_tuple: whether the step gets a tuple.
    """

    kind: Literal["list"] = "list"
    is_tuple: bool = False
    items: list[Annotated[StepInput | ArtifactInput, Field(discriminator="kind")]]


class Condition(_Spec):
    """What an output must be for a step to run; otherwise the step is skipped.

    Args:
        step, output: the output of an earlier step: a number, a text, a truth value or `None`.
        operator: how the output is compared with `value`.
        value: a number, a text, a truth value or `None`; a list of these for `in` and `not in`.
    """

    step: str
    output: str
    operator: Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
    value: Any

    def __str__(self) -> str:
        """Return the condition as a user reads it."""
        return f"output '{self.output}' of step '{self.step}' {self.operator} {self.value!r}"


Input = Annotated[
    StepInput | MapInput | ElementInput | ArtifactInput | ParameterInput | ValueInput | ListInput,
    Field(discriminator="kind"),
]


class OutputSpec(_Spec):
    """One output of a step.

    Args:
        name: the output's name in the step, `"output"` for the only output of a step if it isn't named.
        artifact_name: the artifact that its versions belong to; `pipeline::step::output` by default.
        type: the annotated type, or `None` if there is no annotation.
        materializer: the materializer that the user chose, or `None` to look one up by type.
        artifact_type: its kind, or `None` to take the materializer's.
        version: a user-defined version name, or `None` for the next number.
        tags: tags of the version.
        exclusive_tags: those of `tags` that the version takes away from earlier versions of the artifact.
        run_metadata: metadata of the version.
    """

    name: str
    artifact_name: str
    type: SourceRef | None = None
    materializer: SourceRef | None = None
    artifact_type: ArtifactType | None = None
    version: str | None = None
    tags: list[str] = Field(default_factory=list)
    exclusive_tags: list[str] = Field(default_factory=list)
    run_metadata: dict[str, Any] = Field(default_factory=dict)


# One field for each option of a step, flat: the catalog keeps this JSON with every run.
class StepSpec(_Spec):
    """One step as it stands in a pipeline.

    Args:
        key: its unique name in the pipeline (`train`, `train_2`, …).
        name: the step function's name.
        source: the function.
        inputs: by argument name.
        outputs: in the order in which the function returns them.
        after: keys of steps that must end before it starts, in addition to those that it takes inputs from.
        conditions: all of them must hold, or the step is skipped.
        enable_cache: `False` always runs it.
        retry, timeout (seconds), resources, image, environment: the user's settings.
        on_failure, on_success, on_start, on_end: hooks, called in the worker.
        on_init, on_init_kwargs, on_cleanup: hooks of the pipeline, called in the worker around the step.
        around: a context manager that is entered while the step's function runs; it gets the names of the pipeline and
            of the run, and the run's ID.
        enable_artifact_metadata, enable_artifact_visualization: whether facts and pictures that materializers make
            of the outputs are kept.
        enable_step_logs: whether the step's log is kept.
        extra: the user's JSON.
        model: the model of this step if it differs from the pipeline's.
        code_digest: digest of the step's source and of the project code that it calls, for the cache key.
        cache_on: digests of what else the cache key holds: the files of `cache_files`, by path, and `cache_on`.
        settings: ZenML's settings that Rayform ignores, by key.
        signature: of a recorded call of a dynamic pipeline; see `PipelineSpec`.
    """

    key: str
    name: str
    source: SourceRef
    inputs: dict[str, Input] = Field(default_factory=dict)
    outputs: list[OutputSpec] = Field(default_factory=list)
    after: list[str] = Field(default_factory=list)
    conditions: list[Condition] = Field(default_factory=list)
    enable_cache: bool = True
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = Field(default=None, gt=0)
    resources: Resources = Resources()
    image: ImageSpec | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    on_failure: SourceRef | None = None
    on_success: SourceRef | None = None
    on_start: SourceRef | None = None
    on_end: SourceRef | None = None
    on_init: SourceRef | None = None
    on_init_kwargs: dict[str, Any] = Field(default_factory=dict)
    on_cleanup: SourceRef | None = None
    around: SourceRef | None = None
    enable_artifact_metadata: bool = True
    enable_artifact_visualization: bool = True
    enable_step_logs: bool = True
    extra: dict[str, Any] = Field(default_factory=dict)
    model: ModelSpec | None = None
    code_digest: str = ""
    cache_on: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    signature: str | None = None

    @property
    def upstream(self) -> set[str]:
        """Keys of the steps that must end before this one starts."""
        keys = {*self.after, *(condition.step for condition in self.conditions)}
        for source in self.inputs.values():
            for one in source.items if isinstance(source, ListInput) else [source]:
                if isinstance(one, StepInput | MapInput | ElementInput):
                    keys.add(one.step)
        return keys

    def signed_parts(self, run_id: UUID) -> tuple[str, ...]:
        """Return the texts that `signature` signs for a run."""
        return "call", str(run_id), self.model_copy(update={"signature": None}).model_dump_json()

    @property
    def is_mapped(self) -> bool:
        """Whether it runs once for each element of a list."""
        return any(isinstance(i, MapInput) for i in self.inputs.values())


class ProgramSpec(_Spec):
    """The program that called a pipeline: `__main__` and `sys.argv` of its workers.

    Args:
        argv: its command line as `sys.argv` had it; kept with the run, so that a resumed run has the same.
        argv_is_read: whether steps may depend on `argv`, so that their results do.
        file: the absolute path of the script; `None` for a notebook and for `python -c`.
        module: the script's name if it was started by `python -m`.
        types: classes of a notebook's cells whose values steps may take and return.
    """

    argv: list[str] = Field(default_factory=list)
    argv_is_read: bool = False
    file: str | None = None
    module: str | None = None
    types: list[SourceRef] = Field(default_factory=list)


# One field for each fact about a pipeline, flat: the catalog keeps this JSON with every run.
class PipelineSpec(_Spec):
    """A traced pipeline: everything that a run executes, and that another machine needs to resume it.

    Args:
        name: the pipeline.
        source: the pipeline function.
        parameters: values of the pipeline's arguments, as plain JSON for users.
        has_exact_values: whether the values of `ValueInput`s are what the steps get. Earlier versions stored JSON,
            which the worker still turns into what the annotation demands.
        steps: ordered so that each comes after its upstream steps.
        outputs: what the pipeline returns, as `(step key, output name)` pairs.
        enable_cache: `False` turns caching off for all steps.
        model, image: defaults for the steps.
        environment: variables for all steps.
        tags: tags of the run.
        run_name: template of the run's name, or `None` for `<pipeline>-<time>-<id>`.
        code_root: absolute path of the project whose code the steps import; it travels to a cluster.
        import_paths: folders of the user's code that were on `sys.path` when the pipeline was traced, in that order;
            workers put them there too. Those below `code_root` are relative to it (`"."` is the root itself). The
            others are absolute and exist only on the machine that traced it.
        program: the program that called the pipeline; `None` in runs of earlier versions.
        on_failure, on_success: hooks of the run, in runs of earlier versions; they are hooks of the steps now.
        extra: the user's JSON.
        substitutions: text by placeholder, for the run's name.
        exclusive_tags: those of `tags` that the run takes away from earlier runs of the pipeline.
        code_parts: digests of the project code that the steps can reach, by place (`FILE:NAME`).
        code_reached: by `StepSpec.code_digest`, which of the parts, in their order, the step can reach.
        settings: ZenML's settings that Rayform ignores, by key.
        is_dynamic: whether the body runs next to the scheduler; then `steps` are the calls that it has made so far.
        arguments: of a dynamic pipeline, the body's arguments by name.
        stored_arguments: those of them that the body gets as stored versions rather than as values.
        cache_by_default: of a dynamic pipeline, whether its steps are cached that don't say so themselves.
        step_images: of a dynamic pipeline, the images of steps with one of their own, by the step's name.
        overrides: of a dynamic pipeline, the configuration that overrides the options of its steps, as JSON.
        signature: proves to the machine on which the run began that it did, so that it may run this code again.
    """

    name: str
    source: SourceRef
    parameters: dict[str, Any] = Field(default_factory=dict)
    has_exact_values: bool = False
    steps: list[StepSpec] = Field(default_factory=list)
    outputs: list[tuple[str, str]] = Field(default_factory=list)
    enable_cache: bool = True
    model: ModelSpec | None = None
    image: ImageSpec | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    run_name: str | None = None
    code_root: str | None = None
    import_paths: list[str] = Field(default_factory=list)
    program: ProgramSpec | None = None
    on_failure: SourceRef | None = None
    on_success: SourceRef | None = None
    code_parts: dict[str, str] = Field(default_factory=dict)
    code_reached: dict[str, list[int]] = Field(default_factory=dict)
    extra: dict[str, Any] = Field(default_factory=dict)
    substitutions: dict[str, str] = Field(default_factory=dict)
    exclusive_tags: list[str] = Field(default_factory=list)
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    is_dynamic: bool = False
    arguments: dict[str, Input] = Field(default_factory=dict)
    stored_arguments: list[str] = Field(default_factory=list)
    cache_by_default: bool = True
    step_images: dict[str, ImageSpec] = Field(default_factory=dict)
    overrides: dict[str, Any] | None = None
    signature: str | None = None

    @property
    def images(self) -> dict[str, ImageSpec]:
        """The image of each step by its key; of a dynamic pipeline by its name, and `ANY_STEP` for all others."""
        pipeline = self.image or ImageSpec()
        if self.is_dynamic:
            return {ANY_STEP: pipeline, **self.step_images}
        return {step.key: step.image or pipeline for step in self.steps}

    def signed_parts(self, run_id: UUID) -> tuple[str, ...]:
        """Return what `signature` signs for a run; calls of a dynamic pipeline have signatures of their own."""
        changes: dict[str, Any] = {"signature": None, **({"steps": []} if self.is_dynamic else {})}
        return "run", str(run_id), self.model_copy(update=changes).model_dump_json()

    def parts_of(self, code_digest: str) -> dict[str, str]:
        """Return the digests of the code that a step can reach, by place."""
        places = list(self.code_parts)
        return {places[i]: self.code_parts[places[i]] for i in self.code_reached.get(code_digest, ())}

    def step(self, key: str) -> StepSpec:
        """Return the step with this key.

        Raises:
            KeyError: there is none.
        """
        for step in self.steps:
            if step.key == key:
                return step
        raise KeyError(key)
