"""Parameters as the function's annotations want them: JSON in the catalog, Python in the call."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Callable
from typing import Any

from rayform_core.errors import UsageError

__all__ = ["coerced", "type_hints_of"]

_hints: weakref.WeakKeyDictionary[Callable[..., Any], dict[str, Any]] = weakref.WeakKeyDictionary()
_adapters: dict[Any, Any] = {}
_PLAIN = (str, int, float, bool, list, dict, type(None))


def type_hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations, resolved; without those that can't be resolved here."""
    try:
        known = _hints.get(function)
    except TypeError:
        known = None
    if known is not None:
        return known
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING, a forward reference to nothing
        hints = {n: h for n, h in getattr(function, "__annotations__", {}).items() if not isinstance(h, str)}
    try:
        _hints[function] = hints
    except TypeError:
        pass  # a callable that takes no weak reference; resolved again next time
    return hints


def coerced(value: Any, hint: Any, *, step: str, argument: str) -> Any:
    """Return a JSON value as its annotation wants it; plain values that fit already stay as they are.

    Raises:
        UsageError: the value doesn't fit the annotation.
    """
    if hint is None or hint is Any or (type(value) is hint and hint in (str, int, float, bool, type(None))):
        return value
    if hint in (list, dict) and type(value) is hint:
        return value
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

    adapter = _adapters.get(hint) if _is_hashable(hint) else None
    if adapter is None:
        try:
            adapter = TypeAdapter(hint)
        except (PydanticSchemaGenerationError, PydanticUserError):
            return value  # a type that pydantic knows nothing of: what was frozen is what is given
        if _is_hashable(hint):
            _adapters[hint] = adapter
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) + ': ' if e['loc'] else ''}{e['msg']}" for e in error.errors()[:5]
        )
        raise UsageError(
            f"Argument '{argument}' of step '{step}' can't be {value!r:.200}.",
            why=problems + ".",
            hint=f"It is annotated as {getattr(hint, '__name__', hint)}.",
        ) from error


def _is_hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True
