"""Single options of steps and pipelines, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from rayform.authoring.models import Model
from rayform.authoring.options.tags import tag_names
from rayform.authoring.sources import source_of
from rayform_core.errors import UsageError, nearest
from rayform_core.secret_rules import is_secret
from rayform_runtime.spec import ImageSpec, ModelSpec, RetryPolicy, SourceRef

if TYPE_CHECKING:
    from rayform.authoring.options.tags import Tag

__all__ = [
    "checked", "checked_environment", "checked_tags", "hook_source", "image_spec", "model_spec", "parsed",
    "refuse_invalid_name", "retry_policy", "value_or",
]  # fmt: skip

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_NAME = re.compile(r"[\w<][\w .<>\-]{0,199}")  # a lambda's name is <lambda>


def value_or(value: T | None, default: T) -> T:
    """Return `value`; if it is `None`, the default."""
    return default if value is None else value


def retry_policy(value: object, *, what: str) -> RetryPolicy:
    """Return the policy of an option `retry`: a `RetryPolicy`, a mapping, or a number of tries after the first.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"max_retries": value}
    convert = getattr(value, "to_retry_policy", None)  # ZenML's form has one
    if convert is not None:
        value = convert()
    return parsed(RetryPolicy, value, what=what, option="retry")


def image_spec(value: object, *, what: str) -> ImageSpec | None:
    """Return the image of an option `image`: an `ImageSpec`, a mapping, or the name of a base image.

    Raises:
        UsageError: it is none of these.
    """
    if value is None:
        return None
    convert = getattr(value, "to_image_spec", None)  # ZenML's form has one
    if convert is not None:
        value = convert()
    return parsed(
        ImageSpec, {"base_image": value} if isinstance(value, str) else value, what=what, option="image"
    )


def model_spec(value: object, *, what: str) -> ModelSpec | None:
    """Return the model of an option `model`: a `Model`, its spec, or a mapping.

    Raises:
        UsageError: it is none of these.
    """
    if value is None:
        return None
    return parsed(
        ModelSpec, value.to_spec() if isinstance(value, Model) else value, what=what, option="model"
    )


def hook_source(option: str, hook: object, *, what: str) -> SourceRef | None:
    """Return where a worker finds a hook; `None` if there is no hook.

    Args:
        option: the option, such as `"on_success"`.
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


def parsed(model: type[M], value: object, *, what: str, option: str) -> M:
    """Return an option as a model, from an instance or a mapping.

    Raises:
        UsageError: a field doesn't exist or has a wrong value; names the nearest field.
    """
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


def checked_tags(what: str, *lists: Iterable[str | Tag]) -> list[str]:
    """Return the names of the tags of all lists once each, in order.

    Raises:
        UsageError: one of the lists is a string.
    """
    for tags in lists:
        if isinstance(tags, str):
            raise UsageError(
                f"The tags of {what[0].lower()}{what[1:]} are one string, {tags!r}.",
                hint=f"Give a list: tags=[{tags!r}].",
            )
    return list(dict.fromkeys(name for tags in lists for name in tag_names(tags)))


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
