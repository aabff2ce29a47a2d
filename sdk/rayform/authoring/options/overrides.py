"""Overrides: what a configuration changes in the code's options, as tracing sees it.

`rayform.authoring.configuration` reads overrides from YAML. A call without a configuration file uses
`ParameterOverrides` instead, which loads none of the models that read YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rayform.authoring.configuration import StepConfiguration
    from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy

__all__ = ["NOTHING", "Overrides", "ParameterOverrides"]


class Overrides(Protocol):
    """What a configuration can set; `None` and empty values leave the code's own options."""

    @property
    def parameters(self) -> Mapping[str, object]: ...
    @property
    def enable_cache(self) -> bool | None: ...
    @property
    def retry(self) -> RetryPolicy | None: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def resources(self) -> Resources | None: ...
    @property
    def image(self) -> ImageSpec | None: ...
    @property
    def model(self) -> ModelSpec | None: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def settings(self) -> Mapping[str, dict[str, object]]: ...
    @property
    def success_hook_source(self) -> str | None: ...
    @property
    def failure_hook_source(self) -> str | None: ...
    @property
    def enable_artifact_metadata(self) -> bool | None: ...
    @property
    def enable_artifact_visualization(self) -> bool | None: ...
    @property
    def enable_step_logs(self) -> bool | None: ...
    @property
    def extra(self) -> Mapping[str, object]: ...
    @property
    def substitutions(self) -> Mapping[str, str]: ...
    @property
    def place(self) -> str | None: ...
    @property
    def run_name(self) -> str | None: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def steps(self) -> Mapping[str, StepConfiguration]: ...

    def ignored(self) -> Sequence[str]:
        """Return what it asks for and Rayform can't follow."""
        ...

    def with_parameters(self, parameters: Mapping[str, object]) -> Overrides:
        """Return a copy in which these parameters override the others, and those of code."""
        ...

    def yields_to(self, name: str) -> bool:
        """Whether a parameter was not given on the command line, so that another value in code is a conflict."""
        ...


@dataclass(frozen=True, slots=True)
class ParameterOverrides:
    """Overrides that hold only parameters: a plain call, or `-p name=value`."""

    parameters: Mapping[str, object] = field(default_factory=dict)
    enable_cache: bool | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None
    resources: Resources | None = None
    image: ImageSpec | None = None
    model: ModelSpec | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, dict[str, object]] = field(default_factory=dict)
    success_hook_source: str | None = None
    failure_hook_source: str | None = None
    enable_artifact_metadata: bool | None = None
    enable_artifact_visualization: bool | None = None
    enable_step_logs: bool | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    substitutions: Mapping[str, str] = field(default_factory=dict)
    place: str | None = None
    run_name: str | None = None
    tags: Sequence[str] = ()
    steps: Mapping[str, StepConfiguration] = field(default_factory=dict)

    def with_parameters(self, parameters: Mapping[str, object]) -> ParameterOverrides:
        """Return a copy in which these parameters override the others."""
        return replace(self, parameters={**self.parameters, **parameters})

    def ignored(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def yields_to(self, name: str) -> bool:
        """Return `False`: a user gave all its parameters on the command line."""
        return False


NOTHING = ParameterOverrides()
"""Overrides that change nothing."""
