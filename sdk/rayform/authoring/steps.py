"""`@step`: a function that a pipeline runs in a worker, and whose outputs become artifacts.

Imported by every user module, so it imports nothing heavy: options are kept as they were written and checked
when a pipeline is traced (`rayform.authoring.tracing`), where pydantic is needed anyway.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rayform.authoring.models import Model
    from rayform.authoring.tracing import Trace
    from rayform_runtime.spec import ImageSpec, Resources, RetryPolicy

__all__ = ["Step", "current_trace", "step", "unmapped"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")

current_trace: ContextVar[Trace | None] = ContextVar("rayform_trace", default=None)
"""The trace that a pipeline's body is being run for; `None` outside of a pipeline's body."""

_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Unmapped:
    """Marks an argument of `Step.map` that every instance gets whole."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def unmapped(value: T) -> T:
    """Give `value` whole to each instance of a mapped step, rather than one element to each.

    Example:
        >>> scores = score.map(parts, model=unmapped(model))  # doctest: +SKIP
    """
    return cast("T", Unmapped(value))


class Step(Generic[P, R]):
    """A step: what `@step` makes of a function.

    Called in a pipeline's body it adds itself to the pipeline and returns placeholders of its outputs; called
    anywhere else it is just its function.
    """

    def __init__(self, func: Callable[P, R], options: Mapping[str, Any] | None = None) -> None:
        code = getattr(func, "__code__", None)
        if code is None:
            raise UsageError(
                f"@step needs a function, and {func!r} is none.", hint="Wrap it in a `def` and decorate that."
            )
        if code.co_flags & (_CO_GENERATOR | _CO_COROUTINE | _CO_ASYNC_GENERATOR):
            kind = "a generator" if code.co_flags & _CO_GENERATOR else "an async function"
            hint = (
                "Return a list, so that it can be saved."
                if kind == "a generator"
                else "Make it a plain function that calls `asyncio.run(...)`."
            )
            raise UsageError(
                f"Step '{func.__name__}' is {kind}.",
                why="What a step returns is saved as an artifact, and this has nothing to save yet.",
                hint=hint,
            )
        self.entrypoint = func
        self.options: dict[str, Any] = {k: v for k, v in (options or {}).items() if v is not None}
        self.__name__ = func.__name__
        self.__qualname__ = func.__qualname__
        self.__module__ = func.__module__
        self.__doc__ = func.__doc__
        self.__wrapped__ = func

    @property
    def name(self) -> str:
        """The step's name: the function's unless told."""
        return str(self.options.get("name") or self.entrypoint.__name__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        trace = current_trace.get()
        if trace is None:
            return self.entrypoint(*args, **kwargs)
        return cast("R", trace.add_step(self, args, kwargs))

    @overload
    def map(
        self: Step[Concatenate[A, Q], tuple[A1, A2]], first: Sequence[A], /, *args: Any, **kwargs: Any
    ) -> tuple[list[A1], list[A2]]: ...
    @overload
    def map(
        self: Step[Concatenate[A, Q], tuple[A1, A2, A3]], first: Sequence[A], /, *args: Any, **kwargs: Any
    ) -> tuple[list[A1], list[A2], list[A3]]: ...
    @overload
    def map(
        self: Step[Concatenate[A, Q], tuple[A1, A2, A3, A4]], first: Sequence[A], /, *args: Any, **kwargs: Any
    ) -> tuple[list[A1], list[A2], list[A3], list[A4]]: ...
    @overload
    def map(
        self: Step[Concatenate[A, Q], R], first: Sequence[A], /, *args: Any, **kwargs: Any
    ) -> list[R]: ...
    @overload
    def map(self: Step[P, tuple[A1, A2]], **kwargs: Any) -> tuple[list[A1], list[A2]]: ...
    @overload
    def map(self: Step[P, tuple[A1, A2, A3]], **kwargs: Any) -> tuple[list[A1], list[A2], list[A3]]: ...
    @overload
    def map(
        self: Step[P, tuple[A1, A2, A3, A4]], **kwargs: Any
    ) -> tuple[list[A1], list[A2], list[A3], list[A4]]: ...
    @overload
    def map(self, **kwargs: Any) -> list[R]: ...
    def map(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step once for each element of a list, and join the results into a list again.

        Each argument that is a step's output is taken apart, one element to each instance; several are
        walked side by side and must be of one length. `unmapped(x)` and plain values go whole to each
        instance. The length need not be known before the run. Lists written in the pipeline's body work too.

        Returns:
            a list for each output, for a step that joins, or for another `map`.

        Example:
            >>> @pipeline
            ... def sums() -> None:
            ...     add_up(square.map(load_numbers()))
        """
        trace = current_trace.get()
        if trace is None:
            return self._map_now(args, kwargs)
        return trace.map_step(self, args, kwargs)

    def _map_now(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do outside of a pipeline, on values, what `map` does in one."""

        def is_mapped(value: Any) -> bool:
            return isinstance(value, list | tuple | range)

        lengths = {len(v) for v in (*args, *kwargs.values()) if is_mapped(v)}
        if len(lengths) != 1:
            raise UsageError(
                f"Step '{self.name}' can't be mapped over these arguments.",
                why="It needs at least one list." if not lengths else "The lists have different lengths.",
            )

        def pick(value: Any, index: int) -> Any:
            if is_mapped(value):
                return value[index]
            return value.value if isinstance(value, Unmapped) else value

        function: Callable[..., Any] = self.entrypoint
        results = [
            function(*(pick(a, i) for a in args), **{k: pick(v, i) for k, v in kwargs.items()})
            for i in range(lengths.pop())
        ]
        from rayform.authoring.annotations import outputs_of

        if len(outputs_of(self)) > 1:
            return tuple(list(column) for column in zip(*cast("Any", results), strict=True))
        return results

    def after(self, *upstream: object) -> Step[P, R]:
        """Return this step so that it starts only when `upstream` ended, though it takes no data from there.

        Args:
            upstream: what earlier step calls returned, or keys of steps.

        Example:
            >>> report.after(cleaned)(model)  # doctest: +SKIP
        """
        return self._with({"after": [*self.options.get("after", ()), *upstream]})

    def with_options(
        self,
        *,
        name: str | None = None,
        id: str | None = None,
        enable_cache: bool | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        resources: Resources | Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        image: ImageSpec | str | None = None,
        on_success: Callable[..., object] | str | None = None,
        on_failure: Callable[..., object] | str | None = None,
        output_materializers: type[Any] | Mapping[str, type[Any]] | None = None,
        model: Model | None = None,
        parameters: Mapping[str, Any] | None = None,
        after: Sequence[object] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Step[P, R]:
        """Return a copy of this step with other options; this one stays as it is.

        Args:
            id: the step's key in the pipeline, where it is called more than once.
            parameters: values for arguments that the call leaves out.
            after: what must end before the step starts; see `after()`.

        The other arguments are those of `@step`.
        """
        return self._with({k: v for k, v in locals().items() if k != "self" and v is not None})

    def _with(self, options: Mapping[str, Any]) -> Step[P, R]:
        return type(self)(self.entrypoint, {**self.options, **options})

    def __repr__(self) -> str:
        return f"<step '{self.name}' of {self.__module__}>"


@overload
def step(_func: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    retry: RetryPolicy | int | None = None,
    timeout: float | None = None,
    resources: Resources | Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    image: ImageSpec | str | None = None,
    on_success: Callable[..., object] | str | None = None,
    on_failure: Callable[..., object] | str | None = None,
    output_materializers: type[Any] | Mapping[str, type[Any]] | None = None,
    model: Model | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    _func: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    retry: RetryPolicy | int | None = None,
    timeout: float | None = None,
    resources: Resources | Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    image: ImageSpec | str | None = None,
    on_success: Callable[..., object] | str | None = None,
    on_failure: Callable[..., object] | str | None = None,
    output_materializers: type[Any] | Mapping[str, type[Any]] | None = None,
    model: Model | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a step of a function, bare (`@step`) or with options (`@step(retry=2)`).

    Args:
        name: the step's name; the function's unless told.
        enable_cache: `False` always runs it; the pipeline's setting unless told.
        retry: tries after the first, as a number or a `RetryPolicy` with delay and backoff.
        timeout: seconds after which one try is ended and counts as failed.
        resources: `Resources` that the step needs while it runs.
        environment: variables set while it runs; never secrets, since they are kept with the run.
        image: `ImageSpec`, or the name of a base image, for stacks that run steps in images.
        on_success: called in the worker, without arguments, when the step ended well.
        on_failure: called in the worker with the exception when the step failed for good.
        output_materializers: class for all outputs, or a class for each output's name.
        model: `Model` that the step's outputs and metadata belong to; the pipeline's unless told.
        settings: settings of one flavor, by the flavor's name.

    Returns:
        the step; its type keeps the function's arguments and return type.

    Raises:
        UsageError: what is decorated isn't a plain function.

    Example:
        >>> @step(retry=2)
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> double(21)
        42
    """
    options = {k: v for k, v in locals().items() if k != "_func"}
    if _func is not None:
        return Step(_func, options)
    return lambda func: Step(func, options)
