"""What a step's signature says: its arguments, and its outputs by the return annotation."""

from __future__ import annotations

import inspect
import re
import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rayform.authoring.artifact_config import ArtifactConfig
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rayform.authoring.steps import Step

__all__ = ["UNNAMED_OUTPUT", "Argument", "Output", "arguments_of", "concrete_type", "outputs_of"]

UNNAMED_OUTPUT = "output"
_OUTPUT_NAME = re.compile(r"[^\W_][\w .\-]{0,254}")
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a step or pipeline.

    Args:
        annotation: `Any` where there is none.
        unreadable: why the annotation can't be read at run time, if so; `annotation` is then `Any`.
    """

    name: str
    annotation: Any
    default: Any = _MISSING
    unreadable: UsageError | None = None

    @property
    def is_required(self) -> bool:
        """Whether a call must give it."""
        return self.default is _MISSING


@dataclass(frozen=True, slots=True)
class Output:
    """One output: its name in the step, whether a person chose it, its type, what `ArtifactConfig` says."""

    name: str
    is_named: bool
    annotation: Any
    config: ArtifactConfig | None = None


@lru_cache(maxsize=4096)
def _arguments(func: Callable[..., Any], kind: str) -> dict[str, Argument]:
    hints, unreadable = _hints(func)
    arguments = {}
    for parameter in inspect.signature(func).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            shown = str(parameter).split(":")[0]
            raise UsageError(
                f"{kind} '{func.__name__}' takes '{shown}'.",
                why="Inputs are kept by name, and this argument has none of its own.",
                hint="Give each input a named argument; several outputs go into one argument as a list.",
            )
        default = _MISSING if parameter.default is parameter.empty else parameter.default
        name = parameter.name
        arguments[name] = Argument(name, hints.get(name, Any), default, unreadable.get(name))
    return arguments


def arguments_of(func: Callable[..., Any], *, kind: str = "Step") -> dict[str, Argument]:
    """Return a function's arguments by name, in order.

    Raises:
        UsageError: it takes `*args`, `**kwargs` or positional-only arguments.
    """
    return _arguments(func, kind)


@lru_cache(maxsize=4096)
def _outputs(func: Callable[..., Any]) -> tuple[Output, ...]:
    annotation = func.__annotations__.get("return", _MISSING)
    if annotation is _MISSING:
        # Without an annotation nothing says that it returns nothing: save whatever comes.
        return (Output(UNNAMED_OUTPUT, False, Any),)
    if isinstance(annotation, str):
        annotation = _evaluate(func, annotation, f"the return annotation of step '{func.__name__}'")
    if annotation is None or annotation is type(None):
        return ()
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) is not tuple or not members or members[-1] is Ellipsis:
        return (_output(func, annotation, UNNAMED_OUTPUT),)
    outputs = tuple(_output(func, member, f"output_{i}") for i, member in enumerate(members))
    names = [o.name for o in outputs]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise UsageError(
            f"Step '{func.__name__}' names two of its outputs '{twice[0]}'.",
            hint="Give each output its own name in its `Annotated[...]`.",
        )
    return outputs


def outputs_of(step: Step[Any, Any]) -> tuple[Output, ...]:
    """Return a step's outputs in the order in which its function returns them; none for `-> None`.

    `tuple[A, B]` is two outputs; `tuple[A, ...]` and `Annotated[tuple[A, B], "name"]` are one.

    Raises:
        UsageError: the annotation can't be read, two outputs share a name, or a name is no good.
    """
    return _outputs(step.entrypoint)


def _output(func: Callable[..., Any], annotation: Any, name: str) -> Output:
    config, given = None, None
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *extras = typing.get_args(annotation)
        for extra in extras:
            if isinstance(extra, ArtifactConfig):
                config = extra
                given = extra.name or given
            elif isinstance(extra, str):
                given = given or extra
    if given is not None and not _OUTPUT_NAME.fullmatch(given):
        raise UsageError(
            f"Step '{func.__name__}' names an output {given!r}.",
            why="A name has 1 to 255 letters, digits, spaces, '_', '.' and '-', and starts with a letter or digit.",
            hint="Choose another name in its `Annotated[...]`.",
        )
    return Output(given or name, given is not None, annotation, config)


def concrete_type(annotation: Any) -> type[Any] | None:
    """Return the one class that values of this annotation have, or `None` where it names no single class.

    Example:
        >>> concrete_type(list[int]), concrete_type(int | str)
        (<class 'list'>, None)
    """
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    while isinstance(annotation, typing.NewType):
        annotation = annotation.__supertype__
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return None
    found = origin or annotation
    return found if isinstance(found, type) and found is not object else None


def _hints(func: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, UsageError]]:
    """Return evaluated annotations, and those that name what isn't there at run time."""
    try:
        return typing.get_type_hints(func, localns=_locals_of(func), include_extras=True), {}
    except Exception:  # noqa: BLE001 - annotations are a person's expressions: then one by one
        hints: dict[str, Any] = {}
        unreadable: dict[str, UsageError] = {}
        for name, annotation in func.__annotations__.items():
            try:
                what = f"the annotation of argument '{name}' of '{func.__name__}'"
                hints[name] = _evaluate(func, annotation, what) if isinstance(annotation, str) else annotation
            except UsageError as error:
                unreadable[name] = error
        return hints, unreadable


def _evaluate(func: Callable[..., Any], text: str, what: str) -> Any:
    try:
        # What a person wrote as an annotation in their own module: the same that typing evaluates.
        return eval(text, func.__globals__, _locals_of(func))  # noqa: S307
    except Exception as error:
        raise UsageError(
            f"{what[0].upper()}{what[1:]}, `{text}`, can't be read.",
            why=f"{type(error).__name__}: {error}.",
            hint="Import what it names at run time too, not only under `if TYPE_CHECKING:`.",
        ) from error


def _locals_of(func: Callable[..., Any]) -> dict[str, Any]:
    """Return what a function inside a function sees of its surroundings."""
    found = {}
    names = func.__code__.co_freevars if hasattr(func, "__code__") else ()
    for name, cell in zip(names, getattr(func, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found
