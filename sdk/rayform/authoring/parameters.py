"""Values of arguments: checked against annotations once, by pydantic where they don't fit as they are."""

from __future__ import annotations

import json
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, SchemaError, ValidationError, to_jsonable_python

from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.run_inputs import not_storable
from rayform_core.errors import UsageError
from rayform_core.secret_rules import MASK, is_secret_name, is_secret_value, masked, secret_path

if TYPE_CHECKING:
    from rayform_runtime.artifacts.exact_values import PassedValue

__all__ = ["frozen", "is_simple", "passed", "refuse_secret", "validated"]

_HIDDEN = "**********"
"""How pydantic writes a `SecretStr`."""
_SHORT = 4096
"""Characters."""
_LARGE = 1 << 63
_DEEPEST = 50
"""Levels of containers that are looked into."""


@lru_cache(maxsize=1024)
def _adapter(annotation: object) -> TypeAdapter[object]:
    type_ = cast(
        "type[object]", _portable(annotation)
    )  # pydantic accepts every annotation; its stubs ask for a type
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


def _portable(annotation: Any) -> Any:
    """Replace `typing.TypedDict` classes, which pydantic refuses before Python 3.12."""
    if sys.version_info >= (3, 12):
        return annotation
    if typing.is_typeddict(annotation):
        import typing_extensions

        hints = typing.get_type_hints(annotation, include_extras=True)
        fields = {
            name: _portable(hint)
            if name in annotation.__required_keys__
            else typing_extensions.NotRequired[_portable(hint)]
            for name, hint in hints.items()
        }
        make: Any = typing_extensions.TypedDict
        return make(annotation.__name__, fields)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    replaced = tuple(map(_portable, arguments))
    if replaced == arguments:
        return annotation
    if origin is types.UnionType:
        return typing.Union[replaced]  # noqa: UP007 - its members are known only now
    if origin is typing.Annotated:
        return typing.Annotated[(replaced[0], *annotation.__metadata__)]
    return (
        annotation.copy_with(replaced) if hasattr(annotation, "copy_with") else cast("Any", origin)[replaced]
    )


def validated(value: object, annotation: object, *, what: str, is_text: bool = False) -> object:
    """Return `value` as a value of its annotated type (`"3"` becomes 3 for an `int`).

    A value that fits already is returned as it is.

    Args:
        value: the value.
        annotation: its type; `Any` accepts everything.
        what: how an error names the value, such as `"Parameter 'epochs' of pipeline 'digits'"`.
        is_text: whether it was written in YAML or on the command line, where `1` may stand for 1.0.

    Raises:
        UsageError: it doesn't fit; names the expected type.
    """
    if annotation is Any or (annotation in (int, str, bool) and type(value) is annotation):
        return value
    from rayform_runtime.artifacts.annotations import Fit

    fits = Fit(depth=_DEEPEST, sampled=False, constrained=True).check(value, annotation)
    if fits and not is_text:
        return value
    try:
        result = _adapter_for(annotation).validate_python(value)
    except ValidationError as error:
        problems = "; ".join(
            ".".join(map(str, e["loc"])) + (": " if e["loc"] else "") + e["msg"] for e in error.errors()
        )
        raise _misfit(value, annotation, what, f"{problems}.") from None
    except (PydanticUserError, SchemaError, RecursionError) as error:
        if fits is not False:
            return value  # pydantic knows nothing of the type
        raise _misfit(value, annotation, what, f"It is a {type(value).__qualname__}.") from error
    if fits is None and not is_text and Fit(_DEEPEST, sampled=False).check(value, annotation):
        # A constraint was checked, and a validator may have made something else of the value.
        return value if _is_same(result, value) else result
    return result


def _misfit(value: object, annotation: object, what: str, why: str) -> UsageError:
    from rayform_runtime.artifacts.annotations import shown_type

    if any(map(is_secret_name, re.findall(r"'([^']*)'", what))) or is_secret_value(value):
        shown = MASK
    else:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    return UsageError(
        f"{what} can't be {shown}.", why=why, hint=f"Give a value of type `{shown_type(annotation)}`."
    )


def _is_same(one: object, other: object) -> bool:
    """Whether pydantic made nothing of `other` but `one`; it makes a float of an int, which may lose digits."""
    try:
        if type(one) is float and type(other) is int:
            return one == float(other)
        if isinstance(one, list | tuple) and isinstance(other, list | tuple):
            return len(one) == len(other) and all(map(_is_same, one, other))
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
        return bool(one == other)
    except Exception:  # noqa: BLE001 - a comparison of the user's, or of arrays
        return False


def is_simple(value: object) -> bool:
    """Whether a value is so plain that its JSON is the value: the common case, which loads no codec."""
    if type(value) is str:
        return len(value) <= _SHORT and value.isascii()
    if type(value) is int:
        return -_LARGE < value < _LARGE
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) is bool


def passed(
    value: object, *, what: str, local: Mapping[str, type] | None = None, is_for_users: bool = False
) -> PassedValue | None:
    """Return `value` as the catalog shows it and as the step gets it; `None` if a materializer has to store it.

    Args:
        value: the value, as `validated` returns it.
        what: how an error names the value.
        local: types that only the step's own pickle brings along, by import path.
        is_for_users: whether only `shown` is needed, so that no other process has to make the value.

    Raises:
        UsageError: nothing can store it, or it holds a secret.
    """
    from rayform_runtime.artifacts.exact_values import NeedsMaterializerError, encode_argument
    from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError

    def refuse(item: object) -> None:
        if hasattr(type(item), "get_secret_value"):
            raise _secret(what)
        if isinstance(item, StepArtifact):
            item.refuse_inside(what)

    try:
        parts = encode_argument(value, local, refuse, is_for_users=is_for_users)
    except NeedsMaterializerError:
        return None
    except UnsupportedTypeError as error:
        raise not_storable(what, value, error) from None
    except UsageError as error:
        if error.message.startswith(what):
            raise
        raise UsageError(f"{what}: {error.message}", why=error.why, hint=error.hint) from error
    if parts.exact is not None and _HIDDEN in json.dumps(parts.shown):
        raise _secret(what)
    return parts


def refuse_secret(name: str, value: object, *, what: str) -> None:
    """Refuse a value that is a secret by its name or its form (`rayform_core.secret_rules`).

    Args:
        name: the value's own name.
        value: the value as JSON has it; what lies in it counts too.
        what: how an error names the value.

    Raises:
        UsageError: it is, or holds, a secret.
    """
    path = secret_path(name, value)
    if path is not None:
        why = (
            "is named like a secret"
            if is_secret_name(path.rpartition(".")[2])
            else "has a password in its URL"
        )
        raise UsageError(
            f"{what} can't be stored: {'it' if path == name else repr(path)} {why}.",
            why="Parameters are stored with the run, and everyone who can read the catalog can read them.",
            hint="Give the name of an environment variable or of a stored secret (such as 'OPENAI_API_KEY'), and read "
            "it in the step. If it is no secret, give it another name.",
        )


def _secret(what: str) -> UsageError:
    return UsageError(
        f"{what} holds a secret.",
        why="Parameters are stored with the run, and everyone who can read the catalog can read them.",
        hint="Give the name of an environment variable or secret, and read it in the step.",
    )


def frozen(value: object, *, what: str) -> object:
    """Return `value` as plain JSON, which the catalog keeps as metadata.

    Args:
        value: the value.
        what: how an error names the value.

    Raises:
        UsageError: JSON can't hold it, or it holds a secret.
    """
    try:
        plain = _finite(to_jsonable_python(value, inf_nan_mode="constants"))
        text = json.dumps(plain, allow_nan=False)
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} can't be a {type(value).__module__}.{type(value).__qualname__}.",
            why=f"It is stored with the run as JSON, which can't hold this value: {error}.",
            hint="Use numbers, text, lists and dicts.",
        ) from None
    if _HIDDEN in text:
        raise _secret(what)
    return masked("", plain)


def _finite(value: object) -> object:
    """Write NaN and infinities as text; JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return value
