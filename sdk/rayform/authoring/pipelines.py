"""`@pipeline`: a function whose body wires steps together.

Like `rayform.authoring.steps`, it imports nothing heavy; a call imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from rayform.authoring.steps import current_trace
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from rayform.authoring.models import Model
    from rayform.authoring.options.tags import Tag
    from rayform.authoring.options.written import Hook, MorePipelineOptions, PipelineOptions
    from rayform.authoring.tracing import Trace
    from rayform.reading.views import ModelVersionView, RunView
    from rayform_runtime.spec import ImageSpec, PipelineSpec

__all__ = ["Pipeline", "pipeline"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Pipeline(Generic[P, R_co]):
    """A pipeline: what `@pipeline` makes of a function. Calling it runs it."""

    def __init__(self, func: Callable[P, R_co], options: PipelineOptions | None = None) -> None:
        if getattr(func, "__code__", None) is None:
            raise UsageError(
                f"@pipeline needs a function, and {func!r} is not one.",
                hint="Write `@pipeline` above a `def`, and `@step` above the steps that it calls.",
            )
        self.entrypoint = func
        self.options = cast("PipelineOptions", {k: v for k, v in (options or {}).items() if v is not None})
        self.__name__ = func.__name__
        self.__qualname__ = func.__qualname__
        self.__module__ = func.__module__
        self.__doc__ = func.__doc__
        self.__wrapped__ = func

    @property
    def name(self) -> str:
        """The pipeline's name: by default the function's."""
        return str(self.options.get("name") or self.entrypoint.__name__)

    @overload
    def __call__(self: Pipeline[P, None], *args: P.args, **kwargs: P.kwargs) -> RunView: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Run the pipeline on the active stack and wait for its end.

        In another pipeline's body, the call makes this pipeline part of the other one, and returns the result of
        this pipeline's body.

        Returns:
            the run, with `run.status` and `run.steps["train"].outputs["model"].load()`.

        Raises:
            PipelineFailedError: a step failed; the error shows the step's own traceback.
            UsageError: an argument doesn't fit, or the body wires steps wrongly.

        Example:
            >>> run = training(epochs=3)  # doctest: +SKIP
            >>> run.steps["train"].outputs["model"].load()  # doctest: +SKIP
        """
        trace = current_trace.get()
        if trace is not None:
            self._refuse_within_static(trace)
            return trace.inline(self, args, kwargs)
        from rayform.launching.run import run_pipeline

        return run_pipeline(self, args, kwargs)

    def inline(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Make this pipeline part of the one whose body calls it; typed as the result of this pipeline's body.

        A plain call does the same. Its type can't tell whether it runs the pipeline or inlines it; this one can.

        Raises:
            UsageError: called outside of a pipeline's body, or an argument doesn't fit.

        Example:
            >>> @pipeline
            ... def training(rows: int = 10) -> None:
            ...     train(features.inline(rows))
        """
        trace = current_trace.get()
        if trace is None:
            raise UsageError(
                f"Pipeline '{self.name}' is inlined outside of a pipeline's body.",
                hint=f"Call `{self.name}(...)` to run it.",
            )
        self._refuse_within_static(trace)
        return cast("R_co", trace.inline(self, args, kwargs))

    def _refuse_within_static(self, trace: Trace) -> None:
        if self.options.get("dynamic") and not trace.is_dynamic:
            raise UsageError(
                f"Pipeline '{self.name}' is dynamic, and pipeline '{trace.pipeline.name}' that calls it isn't.",
                why="The body of a static pipeline runs before any step, when a dynamic one has no values to see.",
                hint=f"Write `@pipeline(dynamic=True)` above '{trace.pipeline.name}' too.",
            )

    def trace(self, *args: P.args, **kwargs: P.kwargs) -> PipelineSpec:
        """Return the pipeline as data, as a run would execute it, without running a step.

        Raises:
            UsageError: an argument doesn't fit, or the body wires steps wrongly.

        Example:
            >>> [step.key for step in training.trace(rows=3).steps]  # doctest: +SKIP
            ['load', 'train']
        """
        from rayform.authoring.tracing import trace_call

        return trace_call(self, args, kwargs)

    def with_options(
        self,
        *,
        name: str | None = None,
        config_path: str | Path | None = None,
        enable_cache: bool | None = None,
        parameters: Mapping[str, object] | None = None,
        run_name: str | None = None,
        tags: Sequence[str | Tag] | None = None,
        model: Model | None = None,
        image: ImageSpec | str | None = None,
        environment: Mapping[str, str] | None = None,
        on_success: Hook | None = None,
        on_failure: Hook | None = None,
        settings: Mapping[str, object] | None = None,
        **more: Unpack[MorePipelineOptions],
    ) -> Pipeline[P, R_co]:
        """Return a copy of this pipeline with other options; this one stays as it is.

        Args:
            config_path: YAML file that overrides the code's options; see `docs/pipelines.md`. None by default.
            parameters: values for arguments that the call leaves out.
            run_name: name of the run; `{pipeline}`, `{date}`, `{time}` and `{id}` are filled in. By default
                `{pipeline}-{date}-{time}-{id}`.

        The other arguments are those of `@pipeline`.

        Example:
            >>> training.with_options(config_path="nightly.yaml", enable_cache=False)()  # doctest: +SKIP
        """
        changes = _options_of_call(f"Pipeline '{self.name}'", locals())
        return type(self)(self.entrypoint, cast("PipelineOptions", {**self.options, **changes}))

    def configure(self, **options: Unpack[PipelineOptions]) -> Pipeline[P, R_co]:
        """Change this pipeline's own options, for all later calls; `with_options` makes a copy instead.

        Returns:
            this pipeline.

        Raises:
            UsageError: an option doesn't exist.
        """
        self.options = self.with_options(**cast("Any", options)).options
        return self

    @property
    def model(self) -> ModelVersionView:
        """The model version of this pipeline's newest run.

        Raises:
            NotFoundError: the pipeline has no run, or its newest run works on no model.
        """
        from rayform.launching.run import newest_run
        from rayform_core.errors import NotFoundError

        run = newest_run(self.name)
        version = run.model_version
        if version is None:
            raise NotFoundError(
                "model version of run", run.name, hint="Name a model: `@pipeline(model=...)`."
            )
        return version

    def __repr__(self) -> str:
        return f"<pipeline '{self.name}' of {self.__module__}>"


def _options_of_call(what: str, written: Mapping[str, object]) -> dict[str, object]:
    if not written["more"]:
        return {k: v for k, v in written.items() if k not in ("self", "_func", "more") and v is not None}
    from rayform.authoring.options.written import MorePipelineOptions, options_of_call

    return options_of_call(what, written, MorePipelineOptions)


@overload
def pipeline(_func: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    tags: Sequence[str | Tag] | None = None,
    model: Model | None = None,
    image: ImageSpec | str | None = None,
    environment: Mapping[str, str] | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    settings: Mapping[str, object] | None = None,
    **more: Unpack[MorePipelineOptions],
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(
    _func: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    enable_cache: bool | None = None,
    tags: Sequence[str | Tag] | None = None,
    model: Model | None = None,
    image: ImageSpec | str | None = None,
    environment: Mapping[str, str] | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    settings: Mapping[str, object] | None = None,
    **more: Unpack[MorePipelineOptions],
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a pipeline of a function, bare (`@pipeline`) or with options (`@pipeline(tags=["nightly"])`).

    Args:
        name: the pipeline's name; by default the function's.
        enable_cache: `False` runs every step, even if an earlier run has its results; `True` by default.
        tags: tags of its runs; none by default.
        model: `Model` that outputs and metadata of its runs belong to; none by default.
        image: image of its steps, for stacks that run steps in images; by default the stack's.
        environment: variables set while its steps run; never secrets, since they are stored with the run.
        on_success, on_failure: the hooks of all steps that have none of their own; see `@step`.
        settings: settings in ZenML's form, for all steps; see `@step`.
        more: further options; see `MorePipelineOptions`.

    Returns:
        the pipeline; calling it runs it.

    Raises:
        UsageError: the decorated object isn't a plain function, or an option doesn't exist.

    Example:
        >>> @pipeline
        ... def training(epochs: int = 3) -> None:
        ...     images, labels = load_digits()
        ...     evaluate(train(images, labels, epochs), images, labels)
    """
    options = cast("PipelineOptions", _options_of_call("@pipeline", locals()))
    if _func is not None:
        return Pipeline(_func, options)
    return lambda func: Pipeline(func, options)
