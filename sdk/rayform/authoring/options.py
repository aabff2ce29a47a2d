"""Options of steps and pipelines: what was written in code, checked, and overridden by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from rayform.authoring.option_checks import checked_environment
from rayform.authoring.sources import source_of
from rayform_core.errors import UsageError, nearest
from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy, SourceRef

if TYPE_CHECKING:
    from rayform.authoring.configuration import StepConfiguration
    from rayform.authoring.overrides import Overrides

__all__ = ["StepOptions", "hook_source", "image_spec", "model_spec", "retry_policy"]

M = TypeVar("M", bound=BaseModel)

_NO_RETRY = RetryPolicy()
_USUAL_RESOURCES = Resources()


def _parsed(model: type[M], value: Any, *, what: str, option: str) -> M:
    if isinstance(value, model):
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = []
        for e in error.errors():
            key = ".".join(map(str, e["loc"]))
            close = nearest(key, model.model_fields) if e["type"] == "extra_forbidden" else []
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            problems.append(f"{key}: {e['msg']}{hint}" if key else e["msg"])
        raise UsageError(f"{what} has a wrong '{option}'.", why="; ".join(problems) + ".") from None


def retry_policy(value: Any, *, what: str) -> RetryPolicy:
    """Return the policy of an option `retry`: a `RetryPolicy`, a mapping, or a number of tries."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"max_retries": value}
    return _parsed(RetryPolicy, value, what=what, option="retry")


def image_spec(value: Any, *, what: str) -> ImageSpec | None:
    """Return the image of an option `image`: an `ImageSpec`, a mapping, or the name of a base image."""
    if value is None:
        return None
    return _parsed(
        ImageSpec, {"base_image": value} if isinstance(value, str) else value, what=what, option="image"
    )


def model_spec(value: Any, *, what: str) -> ModelSpec | None:
    """Return the model of an option `model`: a `Model`, its spec, or a mapping."""
    if value is None:
        return None
    to_spec = getattr(value, "to_spec", None)
    return _parsed(ModelSpec, to_spec() if callable(to_spec) else value, what=what, option="model")


@dataclass(frozen=True, slots=True)
class StepOptions:
    """A step's options, checked.

    Args:
        parameters: values for arguments that the call leaves out.
        forced_parameters: values from the configuration, which override the call.

    The others are those of `@step`.
    """

    enable_cache: bool | None = None
    retry: RetryPolicy = _NO_RETRY
    timeout: float | None = None
    resources: Resources = _USUAL_RESOURCES
    environment: Mapping[str, str] = field(default_factory=dict)
    image: ImageSpec | None = None
    on_success: SourceRef | None = None
    on_failure: SourceRef | None = None
    output_materializers: type[Any] | Mapping[str, type[Any]] | None = None
    model: ModelSpec | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    forced_parameters: Mapping[str, Any] = field(default_factory=dict)
    after: Sequence[object] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any], *, what: str) -> StepOptions:
        """Check what was written in code.

        Args:
            given: the options of `@step` and `with_options`.
            what: how to call the step in an error.

        Raises:
            UsageError: an option is wrong.
        """
        checked: dict[str, Any] = {k: v for k, v in given.items() if k not in ("name", "id")}
        if "retry" in checked:
            checked["retry"] = retry_policy(checked["retry"], what=what)
        if "resources" in checked:
            checked["resources"] = _parsed(Resources, checked["resources"], what=what, option="resources")
        if "image" in checked:
            checked["image"] = image_spec(checked["image"], what=what)
        if "model" in checked:
            checked["model"] = model_spec(checked["model"], what=what)
        for hook in ("on_success", "on_failure"):
            if hook in checked:
                checked[hook] = hook_source(checked[hook], what=f"Hook {hook} of {what[0].lower()}{what[1:]}")
        timeout = checked.get("timeout")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise UsageError(
                f"{what} has a wrong 'timeout'.",
                why=f"It is {timeout!r}.",
                hint="Give seconds, more than 0.",
            )
        if "environment" in checked:
            checked["environment"] = checked_environment(what, checked["environment"])
        return cls(**checked)

    def overridden_by(self, configuration: Overrides, name: str, key: str) -> StepOptions:
        """Return these options as the configuration wants them; the step's key goes before its name.

        A pipeline-wide setting in the configuration is a default for its steps: a step's own option in code
        goes before it, the step's entry in the configuration before both.
        """
        options = self
        defaults: dict[str, Any] = {}
        if configuration.retry is not None and self.retry == _NO_RETRY:
            defaults["retry"] = configuration.retry
        if configuration.resources is not None and self.resources == _USUAL_RESOURCES:
            defaults["resources"] = configuration.resources
        if configuration.timeout is not None and self.timeout is None:
            defaults["timeout"] = configuration.timeout
        options = replace(options, **defaults)
        for entry in dict.fromkeys((name, key)):
            found = configuration.steps.get(entry)
            if found is not None:
                options = options._with(found)
        return options

    def _with(self, entry: StepConfiguration) -> StepOptions:
        simple = ("enable_cache", "retry", "timeout", "resources", "image", "model")
        changes: dict[str, Any] = {n: getattr(entry, n) for n in simple if getattr(entry, n) is not None}
        return replace(
            self,
            **changes,
            environment={**self.environment, **entry.environment},
            settings={**self.settings, **entry.settings},
            forced_parameters={**self.forced_parameters, **entry.parameters},
        )


def hook_source(hook: Any, *, what: str) -> SourceRef:
    """Return where a hook stands: a function, or the import path `module.name` or `module:name` of one.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(hook, str):
        module, _, name = hook.rpartition(":" if ":" in hook else ".")
        if not module or not name:
            raise UsageError(f"{what} is {hook!r}.", hint="Give a function, or `module.name` of one.")
        return SourceRef(module=module, qualname=name)
    if not callable(hook):
        raise UsageError(f"{what} is {hook!r}, which can't be called.", hint="Give a function.")
    return source_of(hook, what=what)
