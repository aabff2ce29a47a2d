"""The arguments of a step's call: JSON in the catalog and values in the store, Python in the call."""

from __future__ import annotations

import contextlib
import typing
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast
from uuid import UUID

from rayform_core.errors import RayformError, UsageError
from rayform_runtime.artifacts.values import REGISTERED, load_value

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.components import Stack
    from rayform_runtime.execution.interface import StepTask, StoredVersion

__all__ = ["coerced", "load_arguments", "type_hints_of"]

_FETCHED_AT_ONCE = 8
_LARGEST_KEPT_LIST = 1 << 16


class _KeptList(NamedTuple):
    uri: str
    values: Sequence[object]


_kept_list: _KeptList | None = None
"""The list that mapped instances take their elements from, kept from one to the next."""
_hints: weakref.WeakKeyDictionary[Callable[..., object], Mapping[str, object]] = weakref.WeakKeyDictionary()
"""The resolved annotations of each function that this process has called."""
_adapters: dict[object, TypeAdapter[object]] = {}
"""For each annotation, the adapter that coerces values to it."""


def load_arguments(task: StepTask, function: Callable[..., object], stack: Stack) -> dict[str, object]:
    """Return the arguments that a step's function is called with.

    Args:
        task: the step.
        function: its annotations say what the JSON of earlier versions becomes.
        stack: its store has the stored inputs.

    Raises:
        UsageError: JSON of an earlier version doesn't fit the annotation, or a value can't be made here.
        RayformError: a stored value can't be loaded.
    """
    arguments: dict[str, object] = {}
    for name, source in task.inputs.items():
        if source.exact is not None:
            arguments[name] = _exact(source.exact, task, function)
        elif source.versions is None:
            arguments[name] = source.value
            if source.is_json:
                hint = type_hints_of(function).get(name)
                arguments[name] = coerced(source.value, hint, step=task.step.key, argument=name)
        elif (unloaded := _unloaded_type(function, name)) is not None:
            versions = [unloaded.of_version(UUID(version.id), stack) for version in source.versions]
            arguments[name] = versions if source.joined else versions[0]
        elif source.joined:
            _fetch_together(source.versions, stack.artifact_store)
            values = [_load(version, task, stack) for version in source.versions]
            arguments[name] = tuple(values) if source.is_tuple else values
        elif source.element is None:
            arguments[name] = _load(source.versions[0], task, stack)
        else:
            arguments[name] = _load_list(source.versions[0], task, stack)[source.element]
    return arguments


def _unloaded_type(function: Callable[..., object], argument: str) -> type[_UnloadedInput] | None:
    """Return the annotated type if it asks for a stored version without its value; `None` for all other types."""
    annotation = getattr(function, "__annotations__", {}).get(argument)
    if isinstance(annotation, str) and annotation.rpartition(".")[2] == "UnmaterializedArtifact":
        annotation = type_hints_of(function).get(argument)
    is_unloaded = isinstance(annotation, type) and getattr(annotation, "is_unloaded_input", False)
    return cast("type[_UnloadedInput]", annotation) if is_unloaded else None


class _UnloadedInput(Protocol):
    @classmethod
    def of_version(cls, id: UUID, stack: Stack) -> object: ...


# -- values of the pipeline's code ----------------------------------------------------------------------------


def _exact(text: str, task: StepTask, function: Callable[..., object]) -> object:
    from rayform_runtime.artifacts.exact_values import decode_argument, types_within

    is_pickled = task.step.source.pickled is not None
    return decode_argument(text, types_within(function) if is_pickled else None)


# -- stored values --------------------------------------------------------------------------------------------


def _load(version: StoredVersion, task: StepTask, stack: Stack) -> Any:
    return load_value(
        stack.artifact_store,
        version.uri,
        digest=version.digest,
        type=version.type,
        materializer=version.materializer,
        trusted=stack.spec.is_trusted or version.materializer in task.pipeline.materializers,
    )


def _fetch_together(versions: Sequence[StoredVersion], store: ArtifactStore) -> None:
    """Bring a mapped step's many outputs onto this machine at once: one by one, each waits for the network.

    They are loaded in turn afterwards, since a user-defined materializer need not be safe in threads. Loading
    reports what can't be fetched.
    """
    distant = [] if store.is_local else [v for v in versions if v.materializer != REGISTERED]
    if len(distant) < 2:
        return

    from concurrent.futures import ThreadPoolExecutor

    def fetch(version: StoredVersion) -> None:
        with contextlib.suppress(RayformError, OSError):
            if store.read_files(version.uri, digest=version.digest) is None:
                with store.open_local(version.uri, digest=version.digest):
                    pass

    with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="rayform-fetch") as pool:
        list(pool.map(fetch, distant))


def _load_list(version: StoredVersion, task: StepTask, stack: Stack) -> Sequence[object]:
    """Load the list that a mapped step's instances take their elements from.

    A short list of plain values is kept for the next instance. A large one, or one of objects that the step may
    change, is loaded again each time.
    """
    global _kept_list
    if _kept_list is not None and _kept_list.uri == version.uri:
        return _kept_list.values
    values: Sequence[object] = _load(version, task, stack)
    plain = all(isinstance(value, str | bytes | int | float | bool | type(None)) for value in values)
    _kept_list = _KeptList(version.uri, values) if plain and len(values) < _LARGEST_KEPT_LIST else None
    return values


# -- JSON of earlier versions ---------------------------------------------------------------------------------


def type_hints_of(function: Callable[..., object]) -> Mapping[str, object]:
    """Return a function's annotations, resolved; without those that can't be resolved here."""
    with contextlib.suppress(TypeError):  # a callable that takes no weak reference
        hints = _hints.get(function)
        if hints is not None:
            return hints
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING, a forward reference to nothing
        annotations = getattr(function, "__annotations__", {})
        hints = {name: hint for name, hint in annotations.items() if not isinstance(hint, str)}
    with contextlib.suppress(TypeError):
        _hints[function] = hints
    return hints


def coerced(value: object, hint: Any, *, step: str, argument: str) -> object:
    """Return a JSON value as its annotation demands it; plain values that fit stay as they are.

    Raises:
        UsageError: the value doesn't fit the annotation.
    """
    if hint is None or hint is Any or (type(value) is hint and hint in (str, int, float, bool, type(None))):
        return value
    if hint in (list, dict) and type(value) is hint:
        return value
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
    from pydantic_core import SchemaError

    adapter = _adapters.get(hint) if _is_hashable(hint) else None
    if adapter is None:
        try:
            adapter = TypeAdapter[object](hint)
        except (PydanticSchemaGenerationError, PydanticUserError, SchemaError):
            return value  # pydantic doesn't know the type: the function gets the JSON value
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


def _is_hashable(hint: object) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True
