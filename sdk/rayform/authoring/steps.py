"""`@step`: a function that a pipeline runs in a worker, and whose outputs become artifacts.

Every user module imports this one, so it imports nothing heavy. Options stay as they were written until a pipeline
is traced (`rayform.authoring.tracing`); they are checked there, since tracing needs pydantic anyway.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from rayform.authoring.flow.dynamic import DynamicTrace
    from rayform.authoring.flow.futures import MapResults, StepFuture
    from rayform.authoring.models import Model
    from rayform.authoring.options.written import Hook, MoreStepOptions, SomeMaterializers, WrittenStepOptions
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
"""The trace of the pipeline whose body is running; `None` outside of a pipeline's body."""

# Flags of a code object; importing `inspect` for them would take longer than this module.
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200
_MAPPED_TYPES = (list, tuple, range)
"""What `map` takes apart when it is called outside of a pipeline."""


class Unmapped:
    """Marks an argument of `Step.map` that every instance gets as a whole."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def unmapped(value: T) -> T:
    """Give the whole `value` to each instance of a mapped step, instead of one element to each.

    Returns:
        a marker that `Step.map` understands, typed as the value.

    Example:
        >>> scores = score.map(parts, model=unmapped(model))  # doctest: +SKIP
    """
    return cast("T", Unmapped(value))


class Step(Generic[P, R]):
    """A step: what `@step` makes of a function.

    Called in a pipeline's body, it adds itself to the pipeline and returns placeholders of its outputs. Called
    anywhere else, it calls its function.
    """

    def __init__(self, func: Callable[P, R], options: WrittenStepOptions | None = None) -> None:
        code = getattr(func, "__code__", None)
        if code is None:
            raise UsageError(
                f"@step needs a function, and {func!r} is not one.",
                hint="Call it in a `def`, and decorate that.",
            )
        if code.co_flags & (_CO_GENERATOR | _CO_COROUTINE | _CO_ASYNC_GENERATOR):
            is_generator = code.co_flags & _CO_GENERATOR
            raise UsageError(
                f"Step '{func.__name__}' is {'a generator' if is_generator else 'an async function'}.",
                why="A step's result is saved as an artifact, and this call returns before there is a result.",
                hint="Return a list, so that it can be saved."
                if is_generator
                else "Make it a plain function that calls `asyncio.run(...)`.",
            )
        self.entrypoint = func
        self.options = cast("WrittenStepOptions", {k: v for k, v in (options or {}).items() if v is not None})
        self.__name__ = func.__name__
        self.__qualname__ = func.__qualname__
        self.__module__ = func.__module__
        self.__doc__ = func.__doc__
        self.__wrapped__ = func

    @property
    def name(self) -> str:
        """The step's name: by default the function's."""
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
        self: Step[Concatenate[A, Q], tuple[A1, A2, A3]],
        first: Sequence[A],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[list[A1], list[A2], list[A3]]: ...
    @overload
    def map(
        self: Step[Concatenate[A, Q], tuple[A1, A2, A3, A4]],
        first: Sequence[A],
        /,
        *args: Any,
        **kwargs: Any,
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

        Each argument that is a step's output is split: each instance gets one element of it. Several such arguments
        must have the same length; the length need not be known before the run. Lists written in the pipeline's body
        work too. Each instance gets `unmapped(x)` and plain values as a whole.

        Returns:
            a list for each output. Give it to a step that joins it, or to another `map`.

        Raises:
            UsageError: no argument is a list or an output, or the lists have different lengths.

        Example:
            >>> @pipeline
            ... def sums() -> None:
            ...     add_up(square.map(load_numbers()))
        """
        trace = current_trace.get()
        if trace is None:
            return self._map_now(args, kwargs)
        return trace.map_step(self, args, kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> StepFuture[R]:
        """Start the step and return at once, in the body of a dynamic pipeline: it runs next to the body.

        Returns:
            a future: `.load()` waits and returns the value, `.result()` the outputs; give it to other steps as it is.

        Raises:
            UsageError: called anywhere else, or an argument doesn't fit.

        Example:
            >>> @pipeline(dynamic=True)
            ... def search() -> None:
            ...     futures = [train.submit(rate) for rate in (0.1, 0.01)]
            ...     best = max(future.load() for future in futures)
        """
        return self._dynamic_trace("submit").submit_step(self, args, kwargs)

    def product(self, *args: Any, **kwargs: Any) -> MapResults[R]:
        """Run the step for each combination of the elements of several lists, in the body of a dynamic pipeline.

        Lists, and outputs that are lists, are split; `unmapped(x)` and plain values go whole to each instance.

        Returns:
            the futures, in the order of `itertools.product`.

        Raises:
            UsageError: called anywhere else, or no argument is a list.

        Example:
            >>> train.product(rate=[0.1, 0.01], depth=[2, 4, 8])  # doctest: +SKIP
        """
        return cast("MapResults[R]", self._dynamic_trace("product").product_step(self, args, kwargs))

    def _dynamic_trace(self, method: str) -> DynamicTrace:
        trace = current_trace.get()
        if trace is None or not trace.is_dynamic:
            raise UsageError(
                f"Step '{self.name}': `.{method}(...)` works only in the body of a dynamic pipeline.",
                hint="Write `@pipeline(dynamic=True)` above the pipeline, or call the step without it.",
            )
        return cast("DynamicTrace", trace)

    def _map_now(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Do outside of a pipeline, on values, what `map` does in a pipeline."""
        lengths = {len(v) for v in (*args, *kwargs.values()) if isinstance(v, _MAPPED_TYPES)}
        if len(lengths) != 1:
            raise UsageError(
                f"Step '{self.name}' can't be mapped over these arguments.",
                why="It needs at least one list." if not lengths else "The lists have different lengths.",
                hint="Give an argument that isn't to be split as `unmapped(...)`." if lengths else None,
            )

        def pick(value: object, index: int) -> object:
            if isinstance(value, _MAPPED_TYPES):
                return value[index]
            return value.value if isinstance(value, Unmapped) else value

        function = cast("Callable[..., object]", self.entrypoint)
        results = [
            function(*(pick(a, i) for a in args), **{k: pick(v, i) for k, v in kwargs.items()})
            for i in range(lengths.pop())
        ]
        from rayform.authoring.signatures import outputs_of

        if len(outputs_of(function)) > 1:
            rows = cast("list[tuple[object, ...]]", results)
            return tuple(list(column) for column in zip(*rows, strict=True))
        return results

    def after(self, *upstream: object) -> Step[P, R]:
        """Return a copy of this step that starts only after `upstream`, without taking data from it.

        Args:
            upstream: results of earlier step calls, or keys of steps.

        Example:
            >>> report.after(cleaned)(model)  # doctest: +SKIP
        """
        return self.with_options(after=[*self.options.get("after", ()), *upstream])

    def with_options(
        self,
        *,
        name: str | None = None,
        id: str | None = None,
        enable_cache: bool | None = None,
        cache_files: Sequence[str | Path] | str | Path | None = None,
        cache_on: object = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        resources: Resources | Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        image: ImageSpec | str | None = None,
        on_success: Hook | None = None,
        on_failure: Hook | None = None,
        output_materializers: SomeMaterializers | Mapping[str, SomeMaterializers] | None = None,
        model: Model | None = None,
        parameters: Mapping[str, object] | None = None,
        after: Sequence[object] | None = None,
        settings: Mapping[str, object] | None = None,
        **more: Unpack[MoreStepOptions],
    ) -> Step[P, R]:
        """Return a copy of this step with other options; this one stays as it is.

        Args:
            id: the step's key in the pipeline, if it is called more than once; by default the name and a number.
            parameters: values for arguments that the call leaves out.
            after: results of earlier step calls, or keys of steps, that must end before the step starts.

        The other arguments are those of `@step`.

        Example:
            >>> train.with_options(retry=2, id="train_big")(rows, epochs=9)  # doctest: +SKIP
        """
        changes = _options_of_call(f"Step '{self.name}'", locals())
        return type(self)(self.entrypoint, cast("WrittenStepOptions", {**self.options, **changes}))

    def configure(self, **options: Unpack[WrittenStepOptions]) -> Step[P, R]:
        """Change this step's own options, for all later calls; `with_options` makes a copy instead.

        Returns:
            this step.

        Raises:
            UsageError: an option doesn't exist.
        """
        self.options = self.with_options(**cast("Any", options)).options
        return self

    def __repr__(self) -> str:
        return f"<step '{self.name}' of {self.__module__}>"


def _options_of_call(what: str, written: Mapping[str, object]) -> dict[str, object]:
    if not written["more"]:
        return {k: v for k, v in written.items() if k not in ("self", "_func", "more") and v is not None}
    from rayform.authoring.options.written import MoreStepOptions, options_of_call

    return options_of_call(what, written, MoreStepOptions)


@overload
def step(_func: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    cache_files: Sequence[str | Path] | str | Path | None = None,
    cache_on: object = None,
    retry: RetryPolicy | int | None = None,
    timeout: float | None = None,
    resources: Resources | Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    image: ImageSpec | str | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    output_materializers: SomeMaterializers | Mapping[str, SomeMaterializers] | None = None,
    model: Model | None = None,
    settings: Mapping[str, object] | None = None,
    **more: Unpack[MoreStepOptions],
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    _func: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    cache_files: Sequence[str | Path] | str | Path | None = None,
    cache_on: object = None,
    retry: RetryPolicy | int | None = None,
    timeout: float | None = None,
    resources: Resources | Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    image: ImageSpec | str | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    output_materializers: SomeMaterializers | Mapping[str, SomeMaterializers] | None = None,
    model: Model | None = None,
    settings: Mapping[str, object] | None = None,
    **more: Unpack[MoreStepOptions],
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a step of a function, bare (`@step`) or with options (`@step(retry=2)`).

    Args:
        name: the step's name; by default the function's.
        enable_cache: `False` always runs it; by default the pipeline's setting.
        cache_files: files, folders or patterns whose content the result depends on, such as `["data/*.csv"]`; relative
            paths start from the folder of the step's file. The step runs again if one of them changes.
        cache_on: a value that the result depends on, or a function without arguments that returns one; it is called
            when the pipeline is called. JSON must have a form for the value.
        retry: tries after the first, as a number or as a `RetryPolicy` with delay and backoff; 0 by default.
        timeout: seconds after which one try is stopped and counts as failed; by default there is no limit.
        resources: `Resources` that the step needs while it runs; by default one CPU.
        environment: variables set while it runs; never secrets, since they are stored with the run.
        image: `ImageSpec`, or the name of a base image, for stacks that run steps in images; by default the
            pipeline's.
        on_success: called in the worker, without arguments, when the step succeeded.
        on_failure: called in the worker with the exception when the step's last try failed.
        output_materializers: class for all outputs, or a class for each output's name; by default looked up by type.
        model: `Model` that the step's outputs and metadata belong to; by default the pipeline's.
        settings: settings in ZenML's form: `docker` and `resources` are other forms of `image` and `resources`; those
            of orchestrators that Rayform doesn't have are reported and ignored.
        more: further options; see `MoreStepOptions`.

    Returns:
        the step; its type keeps the function's arguments and return type.

    Raises:
        UsageError: the decorated object isn't a plain function, or an option doesn't exist.

    Example:
        >>> @step(retry=2)
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> double(21)
        42
    """
    options = cast("WrittenStepOptions", _options_of_call("@step", locals()))
    if _func is not None:
        return Step(_func, options)
    return lambda func: Step(func, options)
