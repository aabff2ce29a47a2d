"""Options of steps and pipelines: as users write them, checked, and overridden by the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from pydantic import BaseModel, ValidationError

from rayform.authoring.models import Model
from rayform.authoring.sources import source_of
from rayform_core.errors import UsageError, nearest
from rayform_core.secret_rules import is_secret
from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy, SourceRef

if TYPE_CHECKING:
    from rayform.authoring.configuration import StepConfiguration
    from rayform.authoring.flow.conditions import WrittenCondition
    from rayform.authoring.overrides import Overrides
    from rayform_runtime.artifacts.materializers.base import Materializer

__all__ = [
    "Hook",
    "PipelineOptions",
    "StepOptions",
    "WrittenStepOptions",
    "checked",
    "checked_environment",
    "checked_tags",
    "hook_source",
    "image_spec",
    "model_spec",
    "refuse_invalid_name",
    "retry_policy",
    "value_or",
]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Hook = Callable[..., object] | str
"""A function that is called when a step or run ended, or its import path."""

_NO_RETRY = RetryPolicy()
_DEFAULT_RESOURCES = Resources()
_NAME = re.compile(r"[\w<][\w .<>\-]{0,199}")  # a lambda's name is <lambda>


# -- as users write them ------------------------------------------------------------------------------------
class WrittenStepOptions(TypedDict, total=False):
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
    output_materializers: type[Materializer] | Mapping[str, type[Materializer]]
    model: Model
    parameters: Mapping[str, object]
    after: Sequence[object]
    settings: Mapping[str, Mapping[str, object]]
    conditions: Sequence[WrittenCondition]


class PipelineOptions(TypedDict, total=False):
    """The options of `@pipeline` and `Pipeline.with_options` that a user gave, unchecked."""

    name: str
    config_path: str | Path
    enable_cache: bool
    parameters: Mapping[str, object]
    run_name: str
    tags: Sequence[str]
    model: Model
    image: ImageSpec | str
    environment: Mapping[str, str]
    on_success: Hook
    on_failure: Hook
    settings: Mapping[str, Mapping[str, object]]
    conditions: Sequence[WrittenCondition]


# -- checked ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class StepOptions:
    """A step's options, checked.

    Args:
        parameters: values for arguments that the call leaves out.
        forced_parameters: values from the configuration, which override the call.

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
    output_materializers: type[Materializer] | Mapping[str, type[Materializer]] | None = None
    model: ModelSpec | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    forced_parameters: Mapping[str, object] = field(default_factory=dict)
    after: Sequence[object] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

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
        resources = written.get("resources", _DEFAULT_RESOURCES)
        return cls(
            enable_cache=written.get("enable_cache"),
            cache_files=written.get("cache_files", ()),
            cache_on=written.get("cache_on"),
            retry=retry_policy(written.get("retry", _NO_RETRY), what=what),
            timeout=timeout,
            resources=_parsed(Resources, resources, what=what, option="resources"),
            environment=checked_environment(what, written.get("environment", {})),
            image=image_spec(written.get("image"), what=what),
            on_success=hook_source("on_success", written.get("on_success"), what=what),
            on_failure=hook_source("on_failure", written.get("on_failure"), what=what),
            output_materializers=written.get("output_materializers"),
            model=model_spec(written.get("model"), what=what),
            parameters=written.get("parameters", {}),
            after=written.get("after", ()),
            settings=written.get("settings", {}),
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
            retry=value_or(entry.retry, self.retry),
            timeout=value_or(entry.timeout, self.timeout),
            resources=value_or(entry.resources, self.resources),
            image=value_or(entry.image, self.image),
            model=value_or(entry.model, self.model),
            environment={**self.environment, **entry.environment},
            settings={**self.settings, **entry.settings},
            forced_parameters={**self.forced_parameters, **entry.parameters},
        )


def value_or(value: T | None, default: T) -> T:
    """Return `value`; if it is `None`, the default."""
    return default if value is None else value


# -- single options -----------------------------------------------------------------------------------------
def retry_policy(value: object, *, what: str) -> RetryPolicy:
    """Return the policy of an option `retry`: a `RetryPolicy`, a mapping, or a number of tries after the first.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"max_retries": value}
    return _parsed(RetryPolicy, value, what=what, option="retry")


def image_spec(value: object, *, what: str) -> ImageSpec | None:
    """Return the image of an option `image`: an `ImageSpec`, a mapping, or the name of a base image.

    Raises:
        UsageError: it is none of these.
    """
    if value is None:
        return None
    return _parsed(
        ImageSpec, {"base_image": value} if isinstance(value, str) else value, what=what, option="image"
    )


def model_spec(value: object, *, what: str) -> ModelSpec | None:
    """Return the model of an option `model`: a `Model`, its spec, or a mapping.

    Raises:
        UsageError: it is none of these.
    """
    if value is None:
        return None
    return _parsed(
        ModelSpec, value.to_spec() if isinstance(value, Model) else value, what=what, option="model"
    )


def hook_source(option: str, hook: object, *, what: str) -> SourceRef | None:
    """Return where a worker finds a hook; `None` if there is no hook.

    Args:
        option: `"on_success"` or `"on_failure"`.
        hook: a function, or its import path: `module.name` or `module:name`.
        what: how an error names the step or pipeline, such as `"Step 'train'"`.

    Raises:
        UsageError: the hook is neither.
    """
    if hook is None:
        return None
    named = f"Hook {option} of {what[0].lower()}{what[1:]}"
    if isinstance(hook, str):
        module, _, name = hook.rpartition(":" if ":" in hook else ".")
        if not module or not name:
            raise UsageError(
                f"{named} is {hook!r}.", hint="Give a function, or its import path: `module.name`."
            )
        return SourceRef(module=module, qualname=name)
    if not callable(hook):
        raise UsageError(f"{named} is {hook!r}, which can't be called.", hint="Give a function.")
    return source_of(hook, what=named)


def _parsed(model: type[M], value: object, *, what: str, option: str) -> M:
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


def checked(model: type[M], what: str, /, **fields: object) -> M:
    """Build a spec.

    Args:
        model: class of the spec.
        what: how an error names the step or pipeline.
        fields: the spec's fields.

    Raises:
        UsageError: pydantic refuses a field, which comes from a user's option.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        raise UsageError(f"{what} has a wrong '{option}'.", why=f"{first['msg']}.") from None


def checked_tags(what: str, *lists: Iterable[str]) -> list[str]:
    """Return the tags of all lists once each, in order.

    Raises:
        UsageError: one of the lists is a string.
    """
    for tags in lists:
        if isinstance(tags, str):
            raise UsageError(
                f"The tags of {what[0].lower()}{what[1:]} are one string, {tags!r}.",
                hint=f"Give a list: tags=[{tags!r}].",
            )
    return list(dict.fromkeys(tag for tags in lists for tag in tags))


def checked_environment(what: str, variables: Mapping[str, object]) -> dict[str, str]:
    """Return environment variables that every system accepts.

    Raises:
        UsageError: a name or value isn't text, a name is empty or holds `=` or a blank, or one of them holds a NUL.
    """
    texts: dict[str, str] = {}
    for name, value in variables.items():
        if not isinstance(name, str) or not isinstance(value, str):
            why = "Names and values must both be strings."
        elif not name or "=" in name or any(sign.isspace() for sign in name):
            why = f"{name!r} is not a valid name of a variable."
        elif not _is_passable(name) or not _is_passable(value):
            why = f"Variable {name!r} holds a character that no system accepts in its environment."
        elif is_secret(name, value):
            why = f"Variable {name!r} looks like a secret, and an environment is stored with the run."
        else:
            texts[name] = value
            continue
        hint = "Set it where the step runs, or read it in the step from the cloud's secret store."
        raise UsageError(
            f"{what} has a wrong 'environment'.", why=why, hint=hint if "secret" in why else None
        )
    return texts


def _is_passable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def refuse_invalid_name(what: str, name: str) -> None:
    """Refuse separators and control characters in a name, since names become part of files, URIs and commands.

    Args:
        what: `"A step"` or `"A pipeline"`.
        name: its name.

    Raises:
        UsageError: the name isn't valid.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} has the name {name!r}, which is not valid.",
            why="A name has 1 to 200 letters, digits, spaces, '_', '.' and '-'.",
            hint="Choose another with `name=`.",
        )
