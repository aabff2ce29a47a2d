"""The options of steps and pipelines as users write them, unchecked. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from rayform_core.errors import UsageError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from rayform.authoring.flow.conditions import WrittenCondition
    from rayform.authoring.models import Model
    from rayform.authoring.options.tags import Tag
    from rayform.authoring.steps import Step
    from rayform_runtime.artifacts.materializers.base import Materializer
    from rayform_runtime.spec import ImageSpec, Resources, RetryPolicy

    SomeMaterializers = type[Materializer] | Sequence[type[Materializer]]

__all__ = [
    "CommonOptions",
    "Hook",
    "MorePipelineOptions",
    "MoreStepOptions",
    "PipelineOptions",
    "WrittenStepOptions",
    "options_of_call",
]

Hook = Callable[..., object] | str
"""A function that is called around a step, or its import path."""


class CommonOptions(TypedDict, total=False):
    """Further options of steps and of pipelines; a pipeline's are the defaults of its steps.

    Attributes:
        on_start: called in the worker before the step's function.
        on_end: called in the worker after it, whether it succeeded or not; gets the exception, if there is one.
        enable_artifact_metadata: `False` keeps no facts that materializers extract from outputs.
        enable_artifact_visualization: `False` keeps no pictures that materializers draw of outputs.
        enable_step_logs: `False` keeps no log of the step.
        extra: any JSON, kept with the run: `run.config["extra"]`, `run.steps["train"].config["extra"]`.
        substitutions: text by placeholder, for names of artifacts and runs: `{"lang": "en"}` fills in `{lang}`.
        cache_policy: what decides whether a result of an earlier run is used; see `rayform.zenml.CachePolicy`.
    """

    on_start: Hook
    on_end: Hook
    enable_artifact_metadata: bool
    enable_artifact_visualization: bool
    enable_step_logs: bool
    extra: Mapping[str, object]
    substitutions: Mapping[str, str]
    cache_policy: object


class MoreStepOptions(CommonOptions, total=False):
    """Further options of steps.

    Attributes:
        experiment_tracker: `"mlflow"` makes an MLflow run active while the step runs; a run reports once that it
            ignores other trackers.
        step_operator: name of a component of ZenML's stacks; a run reports once that it ignores it.
    """

    experiment_tracker: str | bool | None
    step_operator: str | bool | None


class MorePipelineOptions(CommonOptions, total=False):
    """Further options of pipelines.

    Attributes:
        on_init: called in the worker before each step; what it returns is `get_step_context().pipeline_state`.
        on_init_kwargs: its arguments, as JSON.
        on_cleanup: called in the worker after each step.
        retry: the steps' default; see `@step`.
        steps: parameters and options by a step's name, as in YAML.
        dynamic: `True` runs the body next to its steps, so that it sees their values; see
            `docs/dynamic-pipelines.md`. `False` by default.
        depends_on: steps with images of their own that the body of a dynamic pipeline may call; their images are built
            before the run, on stacks that run steps in images.
    """

    dynamic: bool
    depends_on: Sequence[Step[..., object]]
    on_init: Hook
    on_init_kwargs: Mapping[str, object]
    on_cleanup: Hook
    retry: RetryPolicy | int
    steps: Mapping[str, Mapping[str, object]]


class WrittenStepOptions(MoreStepOptions, total=False):
    """The options of `@step` and `Step.with_options` that a user gave, unchecked."""

    name: str
    id: str
    enable_cache: bool
    cache_files: Sequence[str | Path] | str | Path
    cache_on: object
    retry: RetryPolicy | int
    timeout: float
    resources: Resources | Mapping[str, object]
    environment: Mapping[str, str]
    image: ImageSpec | str
    on_success: Hook
    on_failure: Hook
    output_materializers: SomeMaterializers | Mapping[str, SomeMaterializers]
    model: Model
    parameters: Mapping[str, object]
    after: Sequence[object]
    settings: Mapping[str, object]
    conditions: Sequence[WrittenCondition]


class PipelineOptions(MorePipelineOptions, total=False):
    """The options of `@pipeline` and `Pipeline.with_options` that a user gave, unchecked."""

    name: str
    config_path: str | Path
    enable_cache: bool
    parameters: Mapping[str, object]
    run_name: str
    tags: Sequence[str | Tag]
    model: Model
    image: ImageSpec | str
    environment: Mapping[str, str]
    on_success: Hook
    on_failure: Hook
    settings: Mapping[str, object]
    conditions: Sequence[WrittenCondition]


_ELSEWHERE = {
    "secrets": "Rayform has no secret store: read secrets in the step, from its environment or the cloud's store.",
    "schedule": "Let cron, a systemd timer or CI call `rayform run`.",
    "runtime": "Each step runs in a worker of its own; leave the option out.",
    "execution_mode": "After a failure, Rayform still runs the steps that don't need the failed one; leave it out.",
}
_NEEDLESS = {"heartbeat_healthy_threshold", "enable_heartbeat", "enable_pipeline_logs", "unlisted", "merge",
             "prevent_build_reuse", "build", "group", "step_type"}  # fmt: skip


def options_of_call(what: str, written: Mapping[str, object], allowed: type) -> dict[str, object]:
    """Return the options that a call gave, without those that are `None`.

    Args:
        what: what the options are for, such as `"@step"`.
        written: the local variables of the call: its named options, and the further ones as `more`.
        allowed: the `TypedDict` of the further options.

    Raises:
        UsageError: an option doesn't exist; names the nearest one.
    """
    named = {k: v for k, v in written.items() if k not in ("self", "_func", "more") and v is not None}
    more = written["more"]
    assert isinstance(more, Mapping)
    known = _fields(allowed)
    for name in more:
        if name in known or name in _NEEDLESS:
            continue
        close = nearest(name, [*known, *(k for k in written if k not in ("self", "_func", "more"))])
        raise UsageError(
            f"{what} has no option '{name}'.",
            hint=_ELSEWHERE.get(name) or (f"Did you mean '{close[0]}'?" if close else None),
        )
    return {**named, **{k: v for k, v in more.items() if v is not None and k in known}}


def _fields(kind: type) -> set[str]:
    return set().union(*(getattr(base, "__annotations__", {}) for base in [kind, *kind.__mro__]))
