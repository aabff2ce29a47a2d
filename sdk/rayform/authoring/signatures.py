"""What the signature of a step or pipeline says: its arguments, its outputs, and how a call fits it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rayform.authoring.artifact_config import ArtifactConfig
from rayform_core.errors import UsageError, nearest

__all__ = [
    "UNNAMED_OUTPUT",
    "Argument",
    "Output",
    "arguments_of",
    "bind",
    "concrete_type",
    "missing",
    "outputs_of",
    "returns_tuple",
]

UNNAMED_OUTPUT = "output"
_OUTPUT_NAME = re.compile(r"[^\W_][\w .\-]{0,254}")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_MISSING: object = object()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a step or pipeline.

    Args:
        name: its name.
        annotation: its type; `Any` if it has no annotation.
        default: its default, or a marker if it has none; see `is_required`.
        unreadable: why the annotation can't be read at run time, if it can't; `annotation` is then `Any`.
    """

    name: str
    annotation: object
    default: object = _MISSING
    unreadable: UsageError | None = None

    @property
    def is_required(self) -> bool:
        """Whether a call must give it."""
        return self.default is _MISSING


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a step.

    Args:
        name: its name in the step.
        is_named: whether the user chose the name.
        annotation: its type; `Any` if it has no annotation.
        config: the `ArtifactConfig` in its annotation, if there is one.
    """

    name: str
    is_named: bool
    annotation: object
    config: ArtifactConfig | None = None


def arguments_of(func: Callable[..., object], *, kind: str = "Step") -> dict[str, Argument]:
    """Return a function's arguments by name, in order.

    Args:
        func: the function.
        kind: how an error calls it: `"Step"` or `"Pipeline"`.

    Raises:
        UsageError: it takes `*args`, `**kwargs` or positional-only arguments.
    """
    return _arguments(func, kind)


@lru_cache(maxsize=4096)
def _arguments(func: Callable[..., object], kind: str) -> dict[str, Argument]:
    hints, unreadable = _hints(func)
    arguments = {}
    for parameter in inspect.signature(func).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            shown = str(parameter).split(":")[0]
            raise UsageError(
                f"{kind} '{func.__name__}' takes '{shown}'.",
                why="Inputs are stored by name, and this argument can't be given by name.",
                hint="Give each input a named argument. To pass several outputs, use one argument and a list.",
            )
        default = _MISSING if parameter.default is parameter.empty else parameter.default
        name = parameter.name
        arguments[name] = Argument(name, hints.get(name, Any), default, unreadable.get(name))
    return arguments


def outputs_of(func: Callable[..., object]) -> tuple[Output, ...]:
    """Return a step's outputs in the order in which its function returns them; none for `-> None`.

    `tuple[A, B]` is two outputs if one of its members is named (`Annotated[A, "name"]`), or if the function returns
    a tuple that it writes out (`return a, b`). `return pair` makes one output, and so do `tuple[A, ...]` and
    `Annotated[tuple[A, B], "name"]`.

    Args:
        func: the step's function.

    Raises:
        UsageError: the annotation can't be read, two outputs share a name, or a name isn't valid.
    """
    return _outputs(func)


@lru_cache(maxsize=4096)
def _outputs(func: Callable[..., object]) -> tuple[Output, ...]:
    annotation: object = func.__annotations__.get("return", _MISSING)
    if annotation is _MISSING:
        # Without an annotation the function may return something: save whatever comes.
        return (Output(UNNAMED_OUTPUT, False, Any),)
    if isinstance(annotation, str):
        annotation = _evaluate(func, annotation, f"The return annotation of step '{func.__name__}'")
    if annotation is None or annotation is type(None):
        return ()
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) is not tuple or not members or members[-1] is Ellipsis:
        return (_output(func, annotation, UNNAMED_OUTPUT),)
    is_named = any(typing.get_origin(member) is typing.Annotated for member in members)
    if not is_named and not returns_tuple(func):
        return (_output(func, annotation, UNNAMED_OUTPUT),)
    outputs = tuple(_output(func, member, f"output_{i}") for i, member in enumerate(members))
    names = [o.name for o in outputs]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise UsageError(
            f"Step '{func.__name__}' has two outputs named '{twice[0]}'.",
            hint="Give each output its own name in its `Annotated[...]`.",
        )
    return outputs


def returns_tuple(func: Callable[..., object]) -> bool:
    """Whether a function writes out a tuple of several members in one of its `return` statements.

    Without its source, as in `python -c`, the answer is yes: its annotation says so.

    Example:
        >>> def pair() -> tuple[int, int]:
        ...     return 1, 2
        >>> returns_tuple(pair)
        True
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(func)))
    except (OSError, TypeError, SyntaxError):
        return True
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef):
        return True  # a lambda, which has no statements
    pending = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) > 1:
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _output(func: Callable[..., object], annotation: object, default_name: str) -> Output:
    config, name = None, None
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *extras = typing.get_args(annotation)
        for extra in extras:
            if isinstance(extra, ArtifactConfig):
                config = extra
                name = extra.name or name
            elif isinstance(extra, str):
                name = name or extra
    if name is not None and not _OUTPUT_NAME.fullmatch(_PLACEHOLDER.sub("x", name)):
        raise UsageError(
            f"Step '{func.__name__}' has an output named {name!r}.",
            why="A name has 1 to 255 letters, digits, spaces, '_', '.' and '-', and starts with a letter or digit.",
            hint="Choose another name in its `Annotated[...]`.",
        )
    return Output(name or default_name, name is not None, annotation, config)


def concrete_type(annotation: object) -> type | None:
    """Return the one class that values of this annotation have; `None` if it names no single class.

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
    type_ = origin or annotation
    return type_ if isinstance(type_, type) and type_ is not object else None


def bind(
    what: str, arguments: Mapping[str, Argument], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    """Return the values that a call passes, by argument name, as Python would sort them.

    Args:
        what: how an error names the function, such as `"Step 'train'"`.
        arguments: the function's arguments.
        args, kwargs: the call's arguments.

    Raises:
        UsageError: the call has too many arguments, an unknown one, or one twice; names the nearest argument.
    """
    names = list(arguments)
    if len(args) > len(names):
        raise UsageError(
            f"{what} takes {len(names)} argument{'s' * (len(names) != 1)} and got {len(args)}.",
            hint=f"It takes: {', '.join(names)}." if names else None,
        )
    values = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in arguments:
            close = nearest(name, names)
            raise UsageError(
                f"{what} has no argument '{name}'.",
                hint=f"Did you mean '{close[0]}'?" if close else f"It takes: {', '.join(names) or 'none'}.",
            )
        if name in values:
            raise UsageError(f"{what} got argument '{name}' twice.", hint="Remove one of them.")
        values[name] = value
    return values


def missing(what: str, names: list[str]) -> UsageError:
    """Return the error for arguments that a call must give and didn't.

    Args:
        what: how the error names the function, such as `"Step 'train'"`.
        names: the arguments.
    """
    shown = ", ".join(f"'{n}'" for n in names)
    hint = "Give it in the call, in the configuration's `parameters`, or with `-p name=value` on the command line."
    if what.startswith("Step"):
        hint = "Give it in the call, or under the step's `parameters` in the configuration."
    return UsageError(f"{what} needs a value for {shown}.", hint=hint)


def _hints(func: Callable[..., object]) -> tuple[dict[str, object], dict[str, UsageError]]:
    """Return evaluated annotations by argument, and an error for each that can't be read at run time."""
    try:
        return typing.get_type_hints(func, localns=_outer_names(func), include_extras=True), {}
    except Exception:  # noqa: BLE001 - annotations are a user's expressions: evaluate them one by one
        hints: dict[str, object] = {}
        unreadable: dict[str, UsageError] = {}
        for name, annotation in func.__annotations__.items():
            try:
                what = f"The annotation of argument '{name}' of '{func.__name__}'"
                hints[name] = _evaluate(func, annotation, what) if isinstance(annotation, str) else annotation
            except UsageError as error:
                unreadable[name] = error
        return hints, unreadable


def _evaluate(func: Callable[..., object], text: str, what: str) -> object:
    try:
        # A user's own annotation in the user's own module: `typing` evaluates the same.
        return eval(text, func.__globals__, _outer_names(func))  # noqa: S307 - an annotation of the user's own code
    except Exception as error:
        raise UsageError(
            f"{what}, `{text}`, can't be read.",
            why=f"{type(error).__name__}: {error}.",
            hint="Import its types at run time too, not only under `if TYPE_CHECKING:`.",
        ) from error


def _outer_names(func: Callable[..., object]) -> dict[str, object]:
    """Return the names of the enclosing function that a nested function uses."""
    values = {}
    names = func.__code__.co_freevars if hasattr(func, "__code__") else ()
    for name, cell in zip(names, getattr(func, "__closure__", None) or (), strict=False):
        try:
            values[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return values
