"""Tracing: a pipeline's body is run once, with placeholders, and what its steps say becomes a `PipelineSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayform.authoring.annotations import arguments_of, outputs_of
from rayform.authoring.binding import bind, missing
from rayform.authoring.option_checks import checked, checked_environment, checked_tags, refuse_odd_name
from rayform.authoring.options import StepOptions, hook_source, image_spec, model_spec
from rayform.authoring.outputs import output_specs
from rayform.authoring.parameters import frozen, validated
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.sources import source_of
from rayform.authoring.steps import Unmapped, current_trace
from rayform.authoring.stored_inputs import stored_version_id, stored_version_ids
from rayform.authoring.wiring import default_input, holds_placeholder, input_of, refuse_unmappable
from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.spec import (
    PipelineSpec,
    SourceRef,
    StepSpec,
)
from rayform_runtime.usercode.digest import source_digest

if TYPE_CHECKING:
    from rayform.authoring.overrides import Overrides
    from rayform.authoring.pipelines import Pipeline
    from rayform.authoring.steps import Step

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
            refuse_unmappable(step.name, name, over)
        return self._add(step, given, mapped=frozenset(from_steps))

    def inline(self, pipeline: Pipeline[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run another pipeline's body into this trace; return what it returns."""
        arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
        given = bind(f"Pipeline '{pipeline.name}'", arguments, args, kwargs)
        given = {**pipeline.options.get("parameters", {}), **given}
        values = {}
        for name, argument in arguments.items():
            if name not in given:
                if argument.is_required:
                    raise missing(f"Pipeline '{pipeline.name}'", [name])
                continue
            value = given[name]
            what = f"Parameter '{name}' of pipeline '{pipeline.name}'"
            is_wired = holds_placeholder(value) or stored_version_id(value) is not None
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
        return step, bind(f"Step '{step.name}'", arguments, args, kwargs)

    def _add(
        self, step: Step[Any, Any], given: dict[str, Any], *, mapped: frozenset[str]
    ) -> StepArtifact | tuple[StepArtifact, ...]:
        arguments = arguments_of(step.entrypoint)
        key = self._new_key(step)
        refuse_odd_name("A step", step.name)
        refuse_odd_name("A step", key)
        options = StepOptions.of(step.options, what=f"Step '{step.name}'").overridden_by(
            self.configuration, step.name, key
        )
        given = {**options.parameters, **given}
        for name, value in options.forced_parameters.items():
            if name not in arguments:
                raise NotFoundError("parameter", name, known=arguments, within=f"of step '{key}'")
            if holds_placeholder(given.get(name)):
                raise UsageError(
                    f"Parameter '{name}' of step '{key}' can't be set in the configuration.",
                    why="In the pipeline it is another step's output.",
                    hint="Take it out of the configuration.",
                )
            given[name] = value
        if left_out := [n for n, a in arguments.items() if a.is_required and n not in given]:
            raise missing(f"Step '{step.name}'", left_out)
        inputs = {
            name: input_of(key, argument, given[name], known=self.steps, mapped=name in mapped)
            for name, argument in arguments.items()
            if name in given
        }
        # Defaults are frozen too: the catalog then shows every value that the step ran with.
        for name, argument in arguments.items():
            if name not in given and (default := default_input(key, argument)) is not None:
                inputs[name] = default
        outputs = outputs_of(step)
        self.names.add(step.name)
        self.steps[key] = checked(
            StepSpec,
            f"Step '{key}'",
            key=key,
            name=step.name,
            source=source_of(step, what=f"Step '{step.name}'"),
            inputs=inputs,
            outputs=output_specs(
                step, key, pipeline=self.pipeline.name, materializers=options.output_materializers
            ),
            after=self._after(key, options.after),
            enable_cache=self.enable_cache if options.enable_cache is None else options.enable_cache,
            retry=options.retry,
            timeout=options.timeout,
            resources=options.resources,
            image=options.image,
            environment=checked_environment(f"Step '{key}'", options.environment),
            on_failure=options.on_failure,
            on_success=options.on_success,
            model=options.model,
            code_digest=source_digest(step.entrypoint),
            settings={k: dict(v) for k, v in options.settings.items()},
        )
        artifacts = tuple(StepArtifact(key, o.name, o.annotation, bool(mapped), self.steps) for o in outputs)
        if not artifacts:
            return StepArtifact(key, None, None, bool(mapped), self.steps)
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
                if isinstance(item, StepArtifact) and item.owner is not self.steps:
                    raise UsageError(
                        f"Step '{key}' can't start after step '{earlier}' of another pipeline.",
                        hint="Call that pipeline in this one, or run one after the other.",
                    )
                if earlier not in self.steps:
                    raise NotFoundError(
                        "earlier step",
                        earlier,
                        known=self.steps,
                        why=f"Step '{key}' can only start after steps that the pipeline called before it.",
                    )
                keys.append(earlier)
        return list(dict.fromkeys(keys))


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
    refuse_odd_name("A pipeline", pipeline.name)
    arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
    given: dict[str, Any] = {
        **pipeline.options.get("parameters", {}),
        **bind(what, arguments, args, kwargs),
    }
    for name, value in configuration.parameters.items():
        if name not in arguments:
            raise NotFoundError("parameter", name, known=arguments, within=f"of pipeline '{pipeline.name}'")
        given[name] = value
    if left_out := [n for n, a in arguments.items() if a.is_required and n not in given]:
        raise missing(what, left_out)
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

    return checked(
        PipelineSpec,
        what,
        name=pipeline.name,
        source=source_of(pipeline, what=what),
        parameters=parameters,
        steps=list(trace.steps.values()),
        outputs=_returned(what, returned),
        # A step's own setting goes before the pipeline's, so the pipeline's only counts where all agree.
        enable_cache=any(step.enable_cache for step in trace.steps.values()),
        model=model_spec(chosen("model"), what=what),
        image=image_spec(chosen("image"), what=what),
        environment=checked_environment(
            what, {**options.get("environment", {}), **configuration.environment}
        ),
        tags=checked_tags(what, options.get("tags", ()), configuration.tags),
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
            raise NotFoundError("step", name, known=known, within=f"in pipeline '{trace.pipeline.name}'")
