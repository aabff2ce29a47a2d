"""Tracing: a pipeline's body is run once, with placeholders, and what its steps say becomes a `PipelineSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from rayform.annotations import Argument, arguments_of, concrete_type, outputs_of
from rayform.options import StepOptions, hook_source, image_spec, model_spec
from rayform.placeholders import StepArtifact
from rayform.sources import source_of, type_source
from rayform.steps import Unmapped, current_trace
from rayform.stored_inputs import stored_version_id, stored_version_ids
from rayform.values import frozen, validated
from rayform_core.errors import NotFoundError, UsageError, nearest
from rayform_runtime.execution.source_digest import source_digest
from rayform_runtime.spec import (
    ArtifactInput,
    ArtifactType,
    Input,
    ListInput,
    MapInput,
    OutputSpec,
    PipelineSpec,
    SourceRef,
    StepInput,
    StepSpec,
    ValueInput,
)

if TYPE_CHECKING:
    from rayform.overrides import Overrides
    from rayform.pipelines import Pipeline
    from rayform.steps import Step

__all__ = ["Trace", "trace_pipeline"]


class Trace:
    """Collects the steps of one pipeline while its body runs.

    Args:
        pipeline: the outermost pipeline.
        configuration: what the YAML file and the command line say, which overrides code.
    """

    def __init__(self, pipeline: Pipeline[Any, Any], configuration: Overrides) -> None:
        self.pipeline = pipeline
        self.configuration = configuration
        self.steps: dict[str, StepSpec] = {}
        self.names: set[str] = set()
        self._counts: dict[str, int] = {}
        configured = configuration.enable_cache
        self.enable_cache: bool = (
            pipeline.options.get("enable_cache", True) if configured is None else configured
        )

    # -- what Step and Pipeline call ------------------------------------------------------------------------
    def add_step(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add one call of a step; return placeholders of its outputs."""
        return self._add(*self._bound(step, args, kwargs), mapped=frozenset())

    def map_step(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add a step that runs once for each element; see `Step.map`."""
        step, given = self._bound(step, args, kwargs)
        literal = [n for n, v in given.items() if isinstance(v, list | tuple | range)]
        from_steps = [n for n, v in given.items() if isinstance(v, StepArtifact)]
        given = {n: v.value if isinstance(v, Unmapped) else v for n, v in given.items()}
        if literal and from_steps:
            raise UsageError(
                f"Step '{step.name}' is mapped over a list written here ('{literal[0]}') and over a step's "
                f"output ('{from_steps[0]}').",
                why="The output's length isn't known yet.",
                hint=f"Give '{literal[0]}' as `unmapped(...)` if each instance should get the whole list.",
            )
        if literal:
            return self._unrolled(step, given, literal)
        if not from_steps and any(stored_version_ids(v) for v in given.values()):
            raise UsageError(
                f"Step '{step.name}' is mapped over a stored version.",
                why="How long a stored list is, only loading it tells.",
                hint="Give it to a step that returns it, and map over that step's output.",
            )
        if not from_steps:
            raise UsageError(
                f"Step '{step.name}' is mapped over nothing.",
                why="None of its arguments is a list or an output of a step.",
                hint=f"Write `{step.name}(...)` to run it once.",
            )
        for name in from_steps:
            over = given[name]
            assert isinstance(over, StepArtifact)
            self._refuse_unmappable(step, name, over)
        return self._add(step, given, mapped=frozenset(from_steps))

    def inline(self, pipeline: Pipeline[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run another pipeline's body into this trace; return what it returns."""
        arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
        given = _bind(f"Pipeline '{pipeline.name}'", arguments, args, kwargs)
        given = {**pipeline.options.get("parameters", {}), **given}
        values = {}
        for name, argument in arguments.items():
            if name not in given:
                if argument.is_required:
                    raise _missing(f"Pipeline '{pipeline.name}'", [name])
                continue
            value = given[name]
            what = f"Parameter '{name}' of pipeline '{pipeline.name}'"
            is_wired = _holds_placeholder(value) or stored_version_id(value) is not None
            values[name] = value if is_wired else validated(value, argument.annotation, what=what)
        return pipeline.entrypoint(**values)

    # -- steps ----------------------------------------------------------------------------------------------
    def _bound(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Step[Any, Any], dict[str, Any]]:
        arguments = arguments_of(step.entrypoint)
        # `after=` and `id=` in the call are ZenML's way; the typed way is `.after(...)` and `with_options(id=...)`.
        options: dict[str, Any] = {}
        if "after" in kwargs and "after" not in arguments:
            after = kwargs.pop("after")
            listed = list(after) if isinstance(after, list | tuple) else [after]
            options["after"] = [*step.options.get("after", ()), *listed]
        if "id" in kwargs and "id" not in arguments:
            options["id"] = kwargs.pop("id")
        if options:
            step = step._with(options)
        return step, _bind(f"Step '{step.name}'", arguments, args, kwargs)

    def _add(
        self, step: Step[Any, Any], given: dict[str, Any], *, mapped: frozenset[str]
    ) -> StepArtifact | tuple[StepArtifact, ...]:
        arguments = arguments_of(step.entrypoint)
        key = self._new_key(step)
        options = StepOptions.of(step.options, what=f"Step '{step.name}'").overridden_by(
            self.configuration, step.name, key
        )
        given = {**options.parameters, **given}
        for name, value in options.forced_parameters.items():
            if name not in arguments:
                raise NotFoundError(f"parameter of step '{key}'", name, known=arguments)
            if _holds_placeholder(given.get(name)):
                raise UsageError(
                    f"Parameter '{name}' of step '{key}' can't be set in the configuration.",
                    why="In the pipeline it is another step's output.",
                    hint="Take it out of the configuration.",
                )
            given[name] = value
        if missing := [n for n, a in arguments.items() if a.is_required and n not in given]:
            raise _missing(f"Step '{step.name}'", missing)
        inputs = {
            name: self._input(key, argument, given[name], mapped=name in mapped)
            for name, argument in arguments.items()
            if name in given
        }
        # Defaults are frozen too: the catalog then shows every value that the step ran with.
        for name, argument in arguments.items():
            if name not in given and (default := _frozen_default(key, argument)) is not None:
                inputs[name] = default
        outputs = outputs_of(step)
        self.names.add(step.name)
        self.steps[key] = StepSpec(
            key=key,
            name=step.name,
            source=source_of(step, what=f"Step '{step.name}'"),
            inputs=inputs,
            outputs=self._outputs(step, key, options),
            after=self._after(key, options.after),
            enable_cache=self.enable_cache if options.enable_cache is None else options.enable_cache,
            retry=options.retry,
            timeout=options.timeout,
            resources=options.resources,
            image=options.image,
            environment=dict(options.environment),
            on_failure=options.on_failure,
            on_success=options.on_success,
            model=options.model,
            code_digest=source_digest(step.entrypoint),
            settings={k: dict(v) for k, v in options.settings.items()},
        )
        artifacts = tuple(StepArtifact(key, o.name, o.annotation, bool(mapped)) for o in outputs)
        if not artifacts:
            return StepArtifact(key, None, None, bool(mapped))
        return artifacts[0] if len(artifacts) == 1 else artifacts

    def _unrolled(self, step: Step[Any, Any], given: dict[str, Any], over: list[str]) -> Any:
        """Map over lists that are known now: one step for each element."""
        lengths = {name: len(given[name]) for name in over}
        if len(set(lengths.values())) != 1:
            shown = ", ".join(f"'{n}' has {length}" for n, length in lengths.items())
            raise UsageError(
                f"Step '{step.name}' is mapped over lists of different lengths: {shown} elements."
            )
        results = [
            self._add(step, {**given, **{n: given[n][i] for n in over}}, mapped=frozenset())
            for i in range(lengths[over[0]])
        ]
        if len(outputs_of(step)) <= 1:
            return results
        return tuple(list(column) for column in zip(*results, strict=True))

    def _new_key(self, step: Step[Any, Any]) -> str:
        chosen = step.options.get("id")
        if chosen is None:
            name = step.name
            key = name
            while key in self.steps:
                # Counted on from the last one, so that a thousand calls of one step don't try a million keys.
                self._counts[name] = count = self._counts.get(name, 1) + 1
                key = f"{name}_{count}"
            return key
        if chosen in self.steps:
            raise UsageError(
                f"Two steps of pipeline '{self.pipeline.name}' have the ID '{chosen}'.",
                hint="Give each its own, or leave `id` away.",
            )
        return str(chosen)

    def _after(self, key: str, upstream: Sequence[object]) -> list[str]:
        keys = []
        for one in upstream:
            for item in one if isinstance(one, list | tuple) else [one]:
                earlier = item.step_key if isinstance(item, StepArtifact) else item
                if not isinstance(earlier, str):
                    raise UsageError(
                        f"Step '{key}' can't start after {item!r}.",
                        hint="Give what an earlier step call returned, or its key.",
                    )
                if earlier not in self.steps:
                    raise NotFoundError("earlier step", earlier, known=self.steps)
                keys.append(earlier)
        return list(dict.fromkeys(keys))

    # -- inputs ---------------------------------------------------------------------------------------------
    def _input(self, key: str, argument: Argument, value: Any, *, mapped: bool) -> Input:
        what = f"Argument '{argument.name}' of step '{key}'"
        if isinstance(value, StepArtifact):
            return self._from_step(what, value, mapped=mapped)
        if version_ids := stored_version_ids(value):
            stored = [ArtifactInput(artifact_version_id=one) for one in version_ids]
            return stored[0] if len(stored) == 1 else ListInput(items=[*stored])
        if isinstance(value, Unmapped):
            raise UsageError(f"{what} is `unmapped(...)`, which only has a meaning in `.map(...)`.")
        if _holds_placeholder(value):
            return self._gathered(what, value)
        if argument.unreadable is not None and not isinstance(value, str | int | float | list | dict | None):
            raise argument.unreadable  # the worker couldn't make the value from JSON again either
        fitting = validated(value, argument.annotation, what=what)
        return ValueInput(value=frozen(fitting, argument.annotation, what=what))

    def _from_step(self, what: str, value: StepArtifact, *, mapped: bool) -> StepInput | MapInput:
        if self.steps.get(value.step_key) is None:
            raise UsageError(
                f"{what} is an output of step '{value.step_key}' of another pipeline.",
                hint="Call that pipeline in this one, or take its stored version: "
                "`Client().get_artifact_version(name)`.",
            )
        if value.output_name is None:
            raise UsageError(
                f"{what} is what step '{value.step_key}' returns, and that is annotated as nothing (`-> None`).",
                hint="Return a value and annotate it; for order alone, write `.after(...)`.",
            )
        kind = MapInput if mapped else StepInput
        return kind(step=value.step_key, output=value.output_name)

    def _gathered(self, what: str, value: Any) -> ListInput:
        if not isinstance(value, list | tuple):
            raise UsageError(
                f"{what} is a {type(value).__name__} that holds a step's output.",
                hint="Give each output as an argument of its own, or several as a list.",
            )
        items: list[StepInput | ArtifactInput] = []
        for element in value:
            version_id = stored_version_id(element)
            if version_id is not None:
                items.append(ArtifactInput(artifact_version_id=version_id))
            elif isinstance(element, StepArtifact) and not element.is_mapped:
                found = self._from_step(what, element, mapped=False)
                assert isinstance(found, StepInput)
                items.append(found)
            else:
                mixed = "the list of a mapped step" if isinstance(element, StepArtifact) else "a plain value"
                raise UsageError(
                    f"{what} is a list that holds single outputs of steps and {mixed}.",
                    hint="Gather single outputs alone, and give the rest as an argument of its own.",
                )
        return ListInput(items=items)

    @staticmethod
    def _refuse_unmappable(step: Step[Any, Any], name: str, value: StepArtifact) -> None:
        type_ = concrete_type(value.annotation)
        if value.is_mapped or type_ is None or value.output_name is None:
            return
        if issubclass(type_, Sequence) and not issubclass(type_, str | bytes | bytearray):
            return
        raise UsageError(
            f"Step '{step.name}' can't be mapped over output '{value.output_name}' of step '{value.step_key}'.",
            why=f"That is annotated as {type_.__name__}, which isn't a list.",
            hint=f"Return a list there, or give '{name}' as `unmapped(...)`.",
        )

    # -- outputs --------------------------------------------------------------------------------------------
    def _outputs(self, step: Step[Any, Any], key: str, options: StepOptions) -> list[OutputSpec]:
        outputs = outputs_of(step)
        chosen = options.output_materializers
        by_output: Mapping[str, type[Any]] = (
            chosen if isinstance(chosen, Mapping) else {o.name: chosen for o in outputs} if chosen else {}
        )
        if unknown := [n for n in by_output if n not in {o.name for o in outputs}]:
            raise NotFoundError(f"output of step '{step.name}'", unknown[0], known=[o.name for o in outputs])
        specs = []
        for output in outputs:
            config = output.config
            type_ = concrete_type(output.annotation)
            materializer = (config and config.materializer) or by_output.get(output.name)
            if materializer is None and not _is_plain(output.annotation):
                from rayform_runtime.artifacts.values import check_type

                check_type(output.annotation, step=key, output=output.name)
            specs.append(
                OutputSpec(
                    name=output.name,
                    # One that a person named is one series whichever pipeline makes it; the rest can't clash.
                    artifact_name=output.name
                    if output.is_named
                    else f"{self.pipeline.name}::{key}::{output.name}",
                    type=type_source(type_) if type_ else None,
                    materializer=type_source(materializer) if materializer else None,
                    artifact_type=ArtifactType(config.artifact_type)
                    if config and config.artifact_type
                    else None,
                    version=str(config.version) if config and config.version is not None else None,
                    tags=config.tags if config else [],
                    run_metadata=frozen(
                        config.run_metadata, Any, what=f"Metadata of output '{output.name}' of step '{key}'"
                    )
                    if config
                    else {},
                )
            )
        return specs


def trace_pipeline(
    pipeline: Pipeline[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    configuration: Overrides,
) -> PipelineSpec:
    """Run a pipeline's body with placeholders and return what it says.

    Args:
        args, kwargs: the call's arguments.
        configuration: what overrides code; `NOTHING` for none.

    Raises:
        UsageError: an argument, an option or the body is wrong.
    """
    what = f"Pipeline '{pipeline.name}'"
    arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
    given: dict[str, Any] = {
        **pipeline.options.get("parameters", {}),
        **_bind(what, arguments, args, kwargs),
    }
    for name, value in configuration.parameters.items():
        if name not in arguments:
            raise NotFoundError(f"parameter of pipeline '{pipeline.name}'", name, known=arguments)
        given[name] = value
    if missing := [n for n, a in arguments.items() if a.is_required and n not in given]:
        raise _missing(what, missing)
    values: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for name, argument in arguments.items():
        if name not in given:
            values[name] = argument.default
            try:
                parameters[name] = frozen(argument.default, argument.annotation, what=name)
            except UsageError:
                parameters[name] = repr(argument.default)  # only the body sees it
            continue
        value = given[name]
        named = f"Parameter '{name}' of pipeline '{pipeline.name}'"
        version_id = stored_version_id(value)
        if version_id is not None:
            values[name], parameters[name] = value, {"artifact_version_id": version_id}
            continue
        values[name] = validated(value, argument.annotation, what=named)
        parameters[name] = frozen(values[name], argument.annotation, what=named)

    trace = Trace(pipeline, configuration)
    token = current_trace.set(trace)
    try:
        returned = pipeline.entrypoint(**values)
    finally:
        current_trace.reset(token)
    if not trace.steps:
        raise UsageError(
            f"{what} has no steps.",
            why="Its body called no function that is decorated with @step.",
            hint="Call at least one step in it.",
        )
    _refuse_unknown_steps(trace)
    return _pipeline_spec(trace, parameters, returned)


def _pipeline_spec(trace: Trace, parameters: dict[str, Any], returned: Any) -> PipelineSpec:
    pipeline, configuration = trace.pipeline, trace.configuration
    options = pipeline.options
    what = f"Pipeline '{pipeline.name}'"

    def chosen(name: str) -> Any:
        configured = getattr(configuration, name)
        return options.get(name) if configured is None else configured

    def hook(name: str) -> SourceRef | None:
        given = options.get(name)
        return (
            None if given is None else hook_source(given, what=f"Hook {name} of {what[0].lower()}{what[1:]}")
        )

    return PipelineSpec(
        name=pipeline.name,
        source=source_of(pipeline, what=what),
        parameters=parameters,
        steps=list(trace.steps.values()),
        outputs=_returned(what, returned),
        # A step's own setting goes before the pipeline's, so the pipeline's only counts where all agree.
        enable_cache=any(step.enable_cache for step in trace.steps.values()),
        model=model_spec(chosen("model"), what=what),
        image=image_spec(chosen("image"), what=what),
        environment={**options.get("environment", {}), **configuration.environment},
        tags=list(dict.fromkeys([*options.get("tags", ()), *configuration.tags])),
        run_name=chosen("run_name"),
        settings={**options.get("settings", {}), **configuration.settings},
        on_success=hook("on_success"),
        on_failure=hook("on_failure"),
    )


def _returned(what: str, returned: Any) -> list[tuple[str, str]]:
    outputs = []

    def collect(value: Any) -> None:
        if isinstance(value, StepArtifact):
            if value.output_name is not None:
                outputs.append((value.step_key, value.output_name))
        elif isinstance(value, Mapping):
            for item in value.values():
                collect(item)
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item)
        elif value is not None and stored_version_id(value) is None:
            raise UsageError(
                f"{what} returns a {type(value).__name__}.",
                why="A pipeline returns outputs of its steps, or nothing.",
                hint="Make the value in a step and return that step's output.",
            )

    collect(returned)
    return outputs


def _refuse_unknown_steps(trace: Trace) -> None:
    known = {*trace.steps, *trace.names}
    for name in trace.configuration.steps:
        if name not in known:
            raise NotFoundError(f"step in pipeline '{trace.pipeline.name}'", name, known=known)


def _bind(
    what: str, arguments: Mapping[str, Argument], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Sort a call's arguments by name, as Python would, with errors that name the nearest right one."""
    names = list(arguments)
    if len(args) > len(names):
        raise UsageError(
            f"{what} takes {len(names)} argument{'s' * (len(names) != 1)} and got {len(args)}.",
            hint=f"It takes: {', '.join(names)}." if names else None,
        )
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in arguments:
            close = nearest(name, names)
            raise UsageError(
                f"{what} has no argument '{name}'.",
                hint=f"Did you mean '{close[0]}'?" if close else f"It takes: {', '.join(names) or 'none'}.",
            )
        if name in given:
            raise UsageError(f"{what} got argument '{name}' twice.")
        given[name] = value
    return given


def _missing(what: str, names: list[str]) -> UsageError:
    shown = ", ".join(f"'{n}'" for n in names)
    hint = "Give it in the call, in the configuration's `parameters`, or with `-p name=value` on the command line."
    if what.startswith("Step"):
        hint = "Give it in the call, or under the step's `parameters` in the configuration."
    return UsageError(f"{what} needs a value for {shown}.", hint=hint)


def _frozen_default(key: str, argument: Argument) -> ValueInput | None:
    """Return an argument's default as an input; `None` for one that only Python can hold.

    The function then fills that in by itself, and the step's code digest covers it.
    """
    try:
        return ValueInput(
            value=frozen(
                argument.default, argument.annotation, what=f"Argument '{argument.name}' of step '{key}'"
            )
        )
    except UsageError:
        return None


def _is_plain(annotation: Any) -> bool:
    """Whether a type is Python's own through and through: stored as JSON, with nothing to look up."""
    if annotation in (int, float, str, bool, bytes, None, list, dict, tuple, set, Any):
        return True
    return get_origin(annotation) in (list, dict, tuple, set) and all(map(_is_plain, get_args(annotation)))


def _holds_placeholder(value: Any) -> bool:
    """Whether an output of a step, or a stored version in a list, is somewhere in a value."""
    if isinstance(value, StepArtifact):
        return True
    if isinstance(value, list | tuple):
        return any(_holds_placeholder(v) or stored_version_id(v) is not None for v in value)
    if isinstance(value, dict):
        return any(_holds_placeholder(v) for v in value.values())
    return False
