"""The options of a pipeline that its steps inherit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rayform.authoring.options.caching import CacheOptions, cache_options
from rayform.authoring.options.settings import read_settings
from rayform.authoring.options.values import hook_source, image_spec, retry_policy, value_or
from rayform_core.errors import UsageError
from rayform_runtime.spec import ImageSpec, Resources, RetryPolicy, SourceRef

if TYPE_CHECKING:
    from rayform.authoring.options.overrides import Overrides
    from rayform.authoring.options.written import Hook, PipelineOptions

__all__ = ["PipelineDefaults"]

_NO_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class PipelineDefaults:
    """The options of a pipeline that its steps inherit, checked.

    Args:
        ignored: what the pipeline asks for and Rayform can't follow.

    The others are those of `@pipeline`.
    """

    retry: RetryPolicy
    image: ImageSpec | None
    resources: Resources | None
    caching: CacheOptions
    on_success: SourceRef | None
    on_failure: SourceRef | None
    on_start: SourceRef | None
    on_end: SourceRef | None
    on_init: SourceRef | None
    on_init_kwargs: Mapping[str, object]
    on_cleanup: SourceRef | None
    enable_artifact_metadata: bool | None
    enable_artifact_visualization: bool | None
    enable_step_logs: bool | None
    extra: Mapping[str, object]
    substitutions: Mapping[str, str]
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, written: PipelineOptions, configuration: Overrides, *, what: str) -> PipelineDefaults:
        """Check what a user wrote in code, with what the configuration overrides.

        Raises:
            UsageError: an option is wrong.
        """
        settings = read_settings(written.get("settings", {}), what=what)
        if settings.image is not None and "image" in written:
            raise UsageError(
                f"{what} has both 'image' and the same in its settings.", hint="Keep one of them."
            )
        file = configuration

        def hook(option: str, override: str | None = None) -> SourceRef | None:
            return hook_source(option, override or cast("Hook | None", written.get(option)), what=what)

        return cls(
            retry=retry_policy(written.get("retry", _NO_RETRY), what=what),
            image=image_spec(value_or(file.image, written.get("image", settings.image)), what=what),
            resources=settings.resources,
            caching=cache_options(written, what=what),
            on_success=hook("on_success", file.success_hook_source),
            on_failure=hook("on_failure", file.failure_hook_source),
            on_start=hook("on_start"),
            on_end=hook("on_end"),
            on_init=hook("on_init"),
            on_init_kwargs=written.get("on_init_kwargs", {}),
            on_cleanup=hook("on_cleanup"),
            enable_artifact_metadata=value_or(
                file.enable_artifact_metadata, written.get("enable_artifact_metadata")
            ),
            enable_artifact_visualization=value_or(
                file.enable_artifact_visualization, written.get("enable_artifact_visualization")
            ),
            enable_step_logs=value_or(file.enable_step_logs, written.get("enable_step_logs")),
            extra={**written.get("extra", {}), **file.extra},
            substitutions={**written.get("substitutions", {}), **file.substitutions},
            ignored=(*settings.ignored, *file.ignored()),
        )
