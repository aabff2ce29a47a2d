"""What overrides code, as tracing sees it; the YAML form of it is in `rayform.authoring.configuration`.

A call without a configuration file doesn't load the models that read one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rayform.authoring.configuration import StepConfiguration
    from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy

__all__ = ["NOTHING", "Overrides", "ParameterOverrides"]


class Overrides(Protocol):
    """What a configuration can say; `None` and empty leave what code says."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...
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
    def settings(self) -> Mapping[str, dict[str, Any]]: ...
    @property
    def run_name(self) -> str | None: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def steps(self) -> Mapping[str, StepConfiguration]: ...

    def with_parameters(self, parameters: Mapping[str, Any]) -> Overrides:
        """Return a copy in which these parameters go first."""
        ...


@dataclass(frozen=True, slots=True)
class ParameterOverrides:
    """Overrides that hold parameters alone: a plain call, or `-p name=value`."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    enable_cache: bool | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None
    resources: Resources | None = None
    image: ImageSpec | None = None
    model: ModelSpec | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    run_name: str | None = None
    tags: Sequence[str] = ()
    steps: Mapping[str, StepConfiguration] = field(default_factory=dict)

    def with_parameters(self, parameters: Mapping[str, Any]) -> ParameterOverrides:
        """Return a copy in which these parameters go first."""
        return replace(self, parameters={**self.parameters, **parameters})


NOTHING = ParameterOverrides()
