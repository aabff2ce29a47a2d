"""`@pipeline`: a function whose body wires steps together.

Like `rayform.authoring.steps`, it imports nothing heavy; a call brings in what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from rayform.authoring.steps import current_trace
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rayform.authoring.models import Model
    from rayform.reading.views import RunView
    from rayform_runtime.spec import ImageSpec, PipelineSpec

__all__ = ["Pipeline", "pipeline"]

P = ParamSpec("P")
R = TypeVar("R")


class Pipeline(Generic[P, R]):
    """A pipeline: what `@pipeline` makes of a function."""

    def __init__(self, func: Callable[P, R], options: Mapping[str, Any] | None = None) -> None:
        if getattr(func, "__code__", None) is None:
            raise UsageError(
                f"@pipeline needs a function, and {func!r} is none.",
                hint="Write `@pipeline` above a `def`, and `@step` above the steps that it calls.",
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
        """The pipeline's name: the function's unless told."""
        return str(self.options.get("name") or self.entrypoint.__name__)

    @overload
    def __call__(self: Pipeline[P, None], *args: P.args, **kwargs: P.kwargs) -> RunView: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the pipeline on the active stack and wait for its end.

        In another pipeline's body it becomes part of that pipeline and returns what its own body returns.

        Returns:
            the run: `run.status`, `run.steps["train"].outputs["model"].load()`.

        Raises:
            PipelineFailedError: a step failed; the error shows the step's own traceback.
            UsageError: an argument doesn't fit, or the pipeline is wired wrongly.

        Example:
            >>> run = training(epochs=3)  # doctest: +SKIP
            >>> run.steps["train"].outputs["model"].load()  # doctest: +SKIP
        """
        trace = current_trace.get()
        if trace is not None:
            return trace.inline(self, args, kwargs)
        from rayform.launching.start import run_pipeline

        return run_pipeline(self, args, kwargs)

    def inline(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make this pipeline part of the one whose body calls it, typed as what this body returns.

        A plain call does the same; a type checker can't tell the two meanings of a plain call apart.
        """
        trace = current_trace.get()
        if trace is None:
            raise UsageError(
                f"Pipeline '{self.name}' is inlined outside of a pipeline.",
                hint=f"Call `{self.name}(...)` to run it.",
            )
        returned: R = trace.inline(self, args, kwargs)
        return returned

    def trace(self, *args: P.args, **kwargs: P.kwargs) -> PipelineSpec:
        """Return the pipeline as data, without running a step: what a run would execute.

        Raises:
            UsageError: an argument doesn't fit, or the pipeline is wired wrongly.
        """
        from rayform.launching.run import traced

        return traced(self, args, kwargs)

    def with_options(
        self,
        *,
        name: str | None = None,
        config_path: str | Path | None = None,
        enable_cache: bool | None = None,
        parameters: Mapping[str, Any] | None = None,
        run_name: str | None = None,
        tags: Sequence[str] | None = None,
        model: Model | None = None,
        image: ImageSpec | str | None = None,
        environment: Mapping[str, str] | None = None,
        on_success: Callable[..., object] | str | None = None,
        on_failure: Callable[..., object] | str | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Pipeline[P, R]:
        """Return a copy of this pipeline with other options; this one stays as it is.

        Args:
            config_path: YAML file that overrides what code says; see `docs/pipelines.md`.
            parameters: values for arguments that the call leaves out.
            run_name: name of the run; `{pipeline}`, `{date}`, `{time}` and `{id}` are filled in.

        The other arguments are those of `@pipeline`.
        """
        changes = {k: v for k, v in locals().items() if k != "self" and v is not None}
        return type(self)(self.entrypoint, {**self.options, **changes})

    def __repr__(self) -> str:
        return f"<pipeline '{self.name}' of {self.__module__}>"


@overload
def pipeline(_func: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    tags: Sequence[str] | None = None,
    model: Model | None = None,
    image: ImageSpec | str | None = None,
    environment: Mapping[str, str] | None = None,
    on_success: Callable[..., object] | str | None = None,
    on_failure: Callable[..., object] | str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(
    _func: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    tags: Sequence[str] | None = None,
    model: Model | None = None,
    image: ImageSpec | str | None = None,
    environment: Mapping[str, str] | None = None,
    on_success: Callable[..., object] | str | None = None,
    on_failure: Callable[..., object] | str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a pipeline of a function, bare (`@pipeline`) or with options (`@pipeline(tags=["nightly"])`).

    Args:
        name: the pipeline's name; the function's unless told.
        enable_cache: `False` runs every step, whatever earlier runs left.
        tags: tags of its runs.
        model: `Model` that outputs and metadata of its runs belong to.
        image: image of its steps, for stacks that run steps in images.
        environment: variables set while its steps run; never secrets.
        on_success, on_failure: called when a run ended; `on_failure` gets the exception.
        settings: settings of one flavor, by the flavor's name.

    Returns:
        the pipeline; calling it runs it.

    Example:
        >>> @pipeline
        ... def training(epochs: int = 3) -> None:
        ...     images, labels = load_digits()
        ...     evaluate(train(images, labels, epochs), images, labels)
    """
    options = {k: v for k, v in locals().items() if k != "_func"}
    if _func is not None:
        return Pipeline(_func, options)
    return lambda func: Pipeline(func, options)
