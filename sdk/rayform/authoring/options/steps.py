"""The options of a step: as its user writes them, with its pipeline's, and overridden by the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rayform.authoring.options.caching import cache_options
from rayform.authoring.options.settings import read_settings
from rayform.authoring.options.values import (
    checked_environment,
    hook_source,
    image_spec,
    model_spec,
    parsed,
    retry_policy,
    value_or,
)
from rayform_core.errors import UsageError
from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy, SourceRef

if TYPE_CHECKING:
    from rayform.authoring.configuration import StepConfiguration
    from rayform.authoring.options.overrides import Overrides
    from rayform.authoring.options.pipelines import PipelineDefaults
    from rayform.authoring.options.written import SomeMaterializers, WrittenStepOptions

__all__ = ["StepOptions", "is_mlflow", "unknown_components"]

_NO_RETRY = RetryPolicy()
_DEFAULT_RESOURCES = Resources()


@dataclass(frozen=True, slots=True)
class StepOptions:
    """A step's options, checked.

    Args:
        parameters: values for arguments that the call leaves out.
        forced_parameters: values from the configuration, which override the call.
        ignored: what the user asked for and Rayform can't follow.
        is_tracked: whether an MLflow run is active while the step runs.

    The others are those of `@step`.
    """

    enable_cache: bool | None = None
    cache_files: Sequence[str | Path] | str | Path = ()
    cache_on: object = None
    retry: RetryPolicy = _NO_RETRY
    timeout: float | None = None
    resources: Resources = _DEFAULT_RESOURCES
    environment: Mapping[str, str] = field(default_factory=dict)
    image: ImageSpec | None = None
    on_success: SourceRef | None = None
    on_failure: SourceRef | None = None
    on_start: SourceRef | None = None
    on_end: SourceRef | None = None
    output_materializers: SomeMaterializers | Mapping[str, SomeMaterializers] | None = None
    model: ModelSpec | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    forced_parameters: Mapping[str, object] = field(default_factory=dict)
    after: Sequence[object] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    enable_artifact_metadata: bool | None = None
    enable_artifact_visualization: bool | None = None
    enable_step_logs: bool | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    substitutions: Mapping[str, str] = field(default_factory=dict)
    is_tracked: bool = False

    @classmethod
    def of(cls, written: WrittenStepOptions, *, what: str) -> StepOptions:
        """Check what a user wrote in code.

        Args:
            written: the options of `@step` and `with_options`.
            what: how an error names the step, such as `"Step 'train'"`.

        Raises:
            UsageError: an option is wrong.
        """
        timeout = written.get("timeout")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise UsageError(
                f"{what} has a wrong 'timeout'.",
                why=f"It is {timeout!r}.",
                hint="Give a number of seconds greater than 0.",
            )
        settings = read_settings(written.get("settings", {}), what=what)
        for option, value in (("resources", settings.resources), ("image", settings.image)):
            if value is not None and option in written:
                raise UsageError(
                    f"{what} has both '{option}' and the same in its settings.", hint="Keep one of them."
                )
        resources = written.get("resources", settings.resources or _DEFAULT_RESOURCES)
        caching = cache_options(written, what=what)
        return cls(
            enable_cache=written.get("enable_cache"),
            cache_files=caching.files,
            cache_on=caching.on,
            retry=retry_policy(written.get("retry", _NO_RETRY), what=what),
            timeout=timeout,
            resources=parsed(Resources, resources, what=what, option="resources"),
            environment=checked_environment(what, written.get("environment", {})),
            image=image_spec(written.get("image", settings.image), what=what),
            on_start=hook_source("on_start", written.get("on_start"), what=what),
            on_end=hook_source("on_end", written.get("on_end"), what=what),
            on_success=hook_source("on_success", written.get("on_success"), what=what),
            on_failure=hook_source("on_failure", written.get("on_failure"), what=what),
            output_materializers=written.get("output_materializers"),
            model=model_spec(written.get("model"), what=what),
            parameters=written.get("parameters", {}),
            after=written.get("after", ()),
            settings=written.get("settings", {}),
            ignored=(
                *settings.ignored,
                *unknown_components(written.get("experiment_tracker"), written.get("step_operator")),
            ),
            enable_artifact_metadata=written.get("enable_artifact_metadata"),
            enable_artifact_visualization=written.get("enable_artifact_visualization"),
            enable_step_logs=written.get("enable_step_logs"),
            extra=written.get("extra", {}),
            substitutions=written.get("substitutions", {}),
            is_tracked=is_mlflow(written.get("experiment_tracker")),
        )

    def with_defaults_of(self, pipeline: PipelineDefaults) -> StepOptions:
        """Return these options with a pipeline's in place of those that are not set."""
        return replace(
            self,
            retry=pipeline.retry if self.retry == _NO_RETRY else self.retry,
            resources=pipeline.resources or self.resources
            if self.resources == _DEFAULT_RESOURCES
            else self.resources,
            cache_files=self.cache_files or pipeline.caching.files,
            cache_on=value_or(self.cache_on, pipeline.caching.on),
            on_success=self.on_success or pipeline.on_success,
            on_failure=self.on_failure or pipeline.on_failure,
            on_start=self.on_start or pipeline.on_start,
            on_end=self.on_end or pipeline.on_end,
            enable_artifact_metadata=value_or(
                self.enable_artifact_metadata, pipeline.enable_artifact_metadata
            ),
            enable_artifact_visualization=value_or(
                self.enable_artifact_visualization, pipeline.enable_artifact_visualization
            ),
            enable_step_logs=value_or(self.enable_step_logs, pipeline.enable_step_logs),
            substitutions={**pipeline.substitutions, **self.substitutions},
        )

    def overridden_by(self, configuration: Overrides, name: str, key: str) -> StepOptions:
        """Return these options with those of the configuration.

        For each option, the first of these that sets it wins: the configuration's entry for the step's key, its
        entry for the step's name, the step's own option in code, and the configuration's pipeline-wide setting.

        Args:
            configuration: what overrides code.
            name: the step's name.
            key: its key in the pipeline.
        """
        options = replace(
            self,
            retry=value_or(configuration.retry, self.retry) if self.retry == _NO_RETRY else self.retry,
            timeout=value_or(self.timeout, configuration.timeout),
            resources=value_or(configuration.resources, self.resources)
            if self.resources == _DEFAULT_RESOURCES
            else self.resources,
        )
        for entry in dict.fromkeys((name, key)):
            step = configuration.steps.get(entry)
            if step is not None:
                options = options._with(step)
        return options

    def _with(self, entry: StepConfiguration) -> StepOptions:
        return replace(
            self,
            enable_cache=value_or(entry.enable_cache, self.enable_cache),
            cache_files=value_or(entry.cache_files, self.cache_files),
            on_success=value_or(
                hook_source("on_success", entry.success_hook_source, what="Step"), self.on_success
            ),
            on_failure=value_or(
                hook_source("on_failure", entry.failure_hook_source, what="Step"), self.on_failure
            ),
            enable_artifact_metadata=value_or(entry.enable_artifact_metadata, self.enable_artifact_metadata),
            enable_artifact_visualization=value_or(
                entry.enable_artifact_visualization, self.enable_artifact_visualization
            ),
            enable_step_logs=value_or(entry.enable_step_logs, self.enable_step_logs),
            extra={**self.extra, **entry.extra},
            substitutions={**self.substitutions, **entry.substitutions},
            ignored=(*self.ignored, *entry.ignored()),
            is_tracked=self.is_tracked or is_mlflow(entry.experiment_tracker),
            retry=value_or(entry.retry, self.retry),
            timeout=value_or(entry.timeout, self.timeout),
            resources=value_or(entry.resources, self.resources),
            image=value_or(entry.image, self.image),
            model=value_or(entry.model, self.model),
            environment={**self.environment, **entry.environment},
            settings={**self.settings, **entry.settings},
            forced_parameters={**self.forced_parameters, **entry.parameters},
        )


def is_mlflow(experiment_tracker: object) -> bool:
    """Whether the name of an experiment tracker stands for MLflow, the one that Rayform has."""
    return experiment_tracker is True or (
        isinstance(experiment_tracker, str) and "mlflow" in experiment_tracker.lower()
    )


def unknown_components(experiment_tracker: object, step_operator: object) -> list[str]:
    """Return what a step asks for and Rayform can't follow, as texts for users."""
    names = [f"step_operator={step_operator!r}"] if step_operator else []
    if experiment_tracker and not is_mlflow(experiment_tracker):
        names.append(f"experiment_tracker={experiment_tracker!r}")
    return names
