"""Values of arguments: checked against annotations by pydantic, and frozen as JSON."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, ValidationError, to_jsonable_python

from rayform_core.errors import UsageError

__all__ = ["frozen", "validated"]

_HIDDEN = "**********"
"""How pydantic writes a `SecretStr`."""


@lru_cache(maxsize=1024)
def _adapter(annotation: object) -> TypeAdapter[object]:
    type_ = cast("type[object]", annotation)  # pydantic accepts every annotation; its stubs ask for a type
    try:
        return TypeAdapter(
            type_, config=ConfigDict(arbitrary_types_allowed=True, ser_json_inf_nan="constants")
        )
    except PydanticUserError:
        return TypeAdapter(type_)  # a pydantic model or dataclass brings its own configuration


def _adapter_for(annotation: object) -> TypeAdapter[object]:
    try:
        return _adapter(annotation)
    except TypeError:
        return _adapter.__wrapped__(annotation)  # an annotation that can't be hashed


def validated(value: object, annotation: object, *, what: str) -> object:
    """Return `value` as a value of its annotated type (`"3"` becomes 3 for an `int`).

    Args:
        value: the value.
        annotation: its type; `Any` accepts everything.
        what: how an error names the value, such as `"Parameter 'epochs' of pipeline 'digits'"`.

    Raises:
        UsageError: it doesn't fit; names the expected type.
    """
    if annotation is Any or (annotation in (int, str, bool) and type(value) is annotation):
        return value
    try:
        return _adapter_for(annotation).validate_python(value)
    except ValidationError as error:
        problems = "; ".join(
            ".".join(map(str, e["loc"])) + (": " if e["loc"] else "") + e["msg"] for e in error.errors()
        )
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        raise UsageError(
            f"{what} can't be {shown}.",
            why=f"{problems}.",
            hint=f"Give a value of type `{_written(annotation)}`.",
        ) from None


def frozen(value: object, annotation: object, *, what: str) -> object:
    """Return `value` as the JSON that is stored with the run, and from which the worker rebuilds it.

    Args:
        value: the value, as `validated` returns it.
        annotation: its type; `Any` takes the type of the value itself.
        what: how an error names the value.

    Raises:
        UsageError: JSON can't hold it, or it holds a secret.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    try:
        if annotation is Any or annotation is object:
            plain = to_jsonable_python(value, inf_nan_mode="constants")
        else:
            plain = _adapter_for(annotation).dump_python(value, mode="json", warnings="error")
        plain = _finite(plain)
        odd = _count_not_finite(value)
        if odd and odd != _count_not_finite(validated(plain, annotation, what=what)):
            raise UsageError(
                f"{what} can't hold a NaN or an infinity.",
                why=f"JSON has no such numbers, and `{_written(annotation)}` doesn't say where numbers are.",
                hint="Give it a more precise annotation, such as `dict[str, float]`, or make the value in a step.",
            )
        text = json.dumps(plain, allow_nan=False)
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} can't be a {type(value).__module__}.{type(value).__qualname__}.",
            why=f"It is stored with the run as JSON, which can't hold this value: {error}.",
            hint="Make the value in a step, or save it with `save_artifact(value, name)` and give the step "
            "the stored version.",
        ) from None
    if _HIDDEN in text:
        raise UsageError(
            f"{what} holds a secret.",
            why="Parameters are stored with the run, and everyone who can read the catalog can read them.",
            hint="Give the name of an environment variable or secret, and read it in the step.",
        )
    return plain


def _finite(value: object) -> object:
    """Write NaN and infinities as text, which pydantic reads back as numbers; JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return value


def _count_not_finite(value: object) -> int:
    """Count the NaNs and infinities in plain collections and pydantic models."""
    if isinstance(value, float):
        return int(not math.isfinite(value))
    if isinstance(value, dict):
        return sum(map(_count_not_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return sum(map(_count_not_finite, value))
    if isinstance(value, BaseModel):
        return sum(map(_count_not_finite, dict(value).values()))
    return 0


def _written(annotation: object) -> str:
    """Return an annotation as a user would write it."""
    name = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    return name if name and "[" not in str(annotation) else str(annotation).replace("typing.", "")
