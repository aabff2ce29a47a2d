"""Tracing: runs a pipeline's body once, with placeholders, and turns its step calls into a `PipelineSpec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rayform.authoring.code_facts import code_place
from rayform.authoring.flow.conditions import WrittenCondition, checked_conditions
from rayform.authoring.inputs import (
    Call,
    default_input,
    holds_placeholder,
    input_of,
    refuse_unmappable,
    stored_version_ids,
)
from rayform.authoring.options.overrides import NOTHING, Overrides
from rayform.authoring.options.pipelines import PipelineDefaults
from rayform.authoring.options.steps import StepOptions
from rayform.authoring.options.tags import Tag
from rayform.authoring.options.values import checked, checked_environment, refuse_invalid_name, value_or
from rayform.authoring.outputs import ArtifactNames, materializers_in, output_specs
from rayform.authoring.parameters import validated
from rayform.authoring.pipeline_arguments import (
    is_stored,
    pipeline_arguments,
    refuse_conflict,
    refuse_missing,
)
from rayform.authoring.pipeline_specs import dependencies_of, pipeline_spec
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.run_inputs import RunInputs
from rayform.authoring.signatures import arguments_of, bind, outputs_of
from rayform.authoring.sources import program_of, source_of
from rayform.authoring.steps import Unmapped, current_trace
from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.artifacts.pickling import repair_main
from rayform_runtime.spec import Input, PipelineSpec, SourceRef, StepSpec
from rayform_runtime.usercode.digest import ProjectSnapshot, StepCode, step_code

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.authoring.steps import Step

__all__ = ["Trace", "bound", "trace_call", "trace_pipeline"]

R = TypeVar("R")

_TRACKING = SourceRef(module="rayform.zenml.forms.trackers", qualname="tracked")
"""What makes an MLflow run active; only the worker imports it."""


class Trace:
    """Collects the steps of one pipeline while its body runs.

    Args:
        pipeline: the outermost pipeline.
        configuration: what overrides the code's options: the YAML file and the command line.
        run_inputs: takes the values that materializers store.
    """

    is_dynamic = False  # whether the body runs while its steps do

    def __init__(
        self, pipeline: Pipeline[..., object], configuration: Overrides, run_inputs: RunInputs
    ) -> None:
        self.pipeline = pipeline
        self._run_inputs = run_inputs
        self.configuration = configuration
        # Steps by key, in the order in which the body calls them; also the owner of their placeholders.
        self.steps: dict[str, StepSpec] = {}
        self.names: set[str] = set()  # of the steps; the configuration may use them instead of keys
        self._defaults: dict[tuple[object, str], Input | None] = {}  # by function and argument; made once
        self._local: dict[
            object, dict[str, type]
        ] = {}  # types that pickled functions bring along, by function
        self._counts: dict[str, int] = {}  # the highest number in the keys of each step's calls
        self._snapshot = ProjectSnapshot()  # of the user's files; shared by all steps
        self._digests: dict[tuple[object, ...], str] = {}  # of the code of functions with their materializers
        self.code: dict[str, StepCode] = {}  # what the steps can reach, by its digest
        self._conditions: tuple[WrittenCondition, ...] = ()  # of the pipelines that are being inlined
        self.defaults = PipelineDefaults.of(
            pipeline.options, configuration, what=f"Pipeline '{pipeline.name}'"
        )
        # What steps and the pipeline ask for and Rayform can't follow; reported once, in this order.
        self.cascading = [
            t.name for t in pipeline.options.get("tags", ()) if isinstance(t, Tag) and t.cascade
        ]
        self.ignored: dict[str, None] = dict.fromkeys(self.defaults.ignored)
        self.names_of_artifacts = ArtifactNames()
        self.enable_cache = value_or(configuration.enable_cache, pipeline.options.get("enable_cache", True))

    def _code_digest(self, function: Callable[..., object], options: StepOptions) -> str:
        """Return the digest of a step's code, and note the code."""
        materializers = materializers_in(options.output_materializers)
        digest = self._digests.get((function, materializers))
        if digest is None:
            code = step_code(function, also=materializers, snapshot=self._snapshot)
            self.code[code.digest] = code
            digest = self._digests[function, materializers] = code.digest
        return digest

    # -- called by Step and Pipeline ------------------------------------------------------------------------
    def add_step(
        self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> StepArtifact | tuple[StepArtifact, ...]:
        """Add one call of a step; return placeholders of its outputs."""
        step, values = bound(step, args, kwargs)
        return self._add(step, values)

    def map_step(self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Add a step that runs once for each element; see `Step.map`."""
        step, values = bound(step, args, kwargs)
        lists = {n: v for n, v in values.items() if isinstance(v, list | tuple | range)}
        outputs = {n: v for n, v in values.items() if isinstance(v, StepArtifact)}
        values = {n: v.value if isinstance(v, Unmapped) else v for n, v in values.items()}
        if lists and outputs:
            name = next(iter(lists))
            raise UsageError(
                f"Step '{step.name}' is mapped over a list ('{name}') and over another step's output "
                f"('{next(iter(outputs))}').",
                why="Both must have the same length, and the output's length is not known before the run.",
                hint=f"Give '{name}' as `unmapped(...)` if each instance should get the whole list.",
            )
        if lists:
            return self._unrolled(step, values, lists)
        if not outputs and any(stored_version_ids(v) for v in values.values()):
            raise UsageError(
                f"Step '{step.name}' is mapped over a stored version.",
                why="The length of a stored list is not known before it is loaded.",
                hint="Write a step that takes and returns it, and map over that step's output.",
            )
        if not outputs:
            raise UsageError(
                f"Step '{step.name}' is mapped over nothing.",
                why="None of its arguments is a list or an output of a step.",
                hint=f"Write `{step.name}(...)` to run it once.",
            )
        for name, output in outputs.items():
            refuse_unmappable(step.name, name, output)
        return self._add(step, values, mapped=frozenset(outputs))

    def inline(
        self, pipeline: Pipeline[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Run another pipeline's body into this trace; return its result."""
        what = f"Pipeline '{pipeline.name}'"
        arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
        passed = {**pipeline.options.get("parameters", {}), **bind(what, arguments, args, kwargs)}
        refuse_missing(what, arguments, passed)
        values = {}
        for name, argument in arguments.items():
            if name in passed:
                value = passed[name]
                is_wired = holds_placeholder(value) or is_stored(value)
                named = f"Parameter '{name}' of pipeline '{pipeline.name}'"
                values[name] = value if is_wired else validated(value, argument.annotation, what=named)
        outer = self._conditions
        self._conditions = (*outer, *pipeline.options.get("conditions", ()))
        try:
            return pipeline.entrypoint(**values)
        finally:
            self._conditions = outer

    # -- steps ----------------------------------------------------------------------------------------------
    def _add(
        self,
        step: Step[..., R],
        values: Mapping[str, object],
        mapped: frozenset[str] = frozenset(),
        shared: dict[str, Input] | None = None,
    ) -> StepArtifact | tuple[StepArtifact, ...]:
        """Add a step with these values for its arguments.

        Args:
            step: the step.
            values: by argument name.
            mapped: names of the arguments that it gets element by element.
            shared: inputs that several calls share, by argument name; receives those that it doesn't have.
        """
        key = self._new_key(step)
        what = f"Step '{step.name}'"
        refuse_invalid_name("A step", step.name)
        refuse_invalid_name("A step", key)
        options = (
            StepOptions.of(step.options, what=what)
            .with_defaults_of(self.defaults)
            .overridden_by(self.configuration, step.name, key)
        )
        self.ignored.update(dict.fromkeys(options.ignored))
        outputs = [
            self.names_of_artifacts.filled(o, options.substitutions) for o in outputs_of(step.entrypoint)
        ]
        source = source_of(step, what=what)
        self.names.add(step.name)
        self.steps[key] = checked(
            StepSpec,
            f"Step '{key}'",
            key=key,
            name=step.name,
            source=source,
            inputs=self._inputs(
                step,
                Call(key, self.steps, self._run_inputs, self._local_types(step, source)),
                {**options.parameters, **values},
                values,
                options.forced_parameters,
                mapped,
                {} if shared is None else shared,
            ),
            outputs=output_specs(
                outputs,
                step=step.name,
                key=key,
                pipeline=self.pipeline.name,
                materializers=options.output_materializers,
                tags=self.cascading,
            ),
            after=self._upstream_keys(key, options.after),
            conditions=checked_conditions(key, self._conditions, step.options, self.steps),
            enable_cache=value_or(options.enable_cache, self.enable_cache),
            retry=options.retry,
            timeout=options.timeout,
            resources=options.resources,
            image=options.image,
            environment=checked_environment(f"Step '{key}'", options.environment),
            on_failure=options.on_failure,
            on_success=options.on_success,
            on_start=options.on_start,
            on_end=options.on_end,
            on_init=self.defaults.on_init,
            on_init_kwargs=self.defaults.on_init_kwargs,
            on_cleanup=self.defaults.on_cleanup,
            around=_TRACKING if options.is_tracked else None,
            enable_artifact_metadata=value_or(options.enable_artifact_metadata, True),
            enable_artifact_visualization=value_or(options.enable_artifact_visualization, True),
            enable_step_logs=value_or(options.enable_step_logs, True),
            extra=options.extra,
            model=options.model,
            code_digest=self._code_digest(step.entrypoint, options),
            cache_on=dependencies_of(step.entrypoint, options, what=f"Step '{key}'"),
        )
        artifacts = tuple(StepArtifact(key, o.name, o.annotation, bool(mapped), self.steps) for o in outputs)
        if not artifacts:
            return StepArtifact(key, None, None, bool(mapped), self.steps)
        return artifacts[0] if len(artifacts) == 1 else artifacts

    def _inputs(
        self,
        step: Step[..., R],
        call: Call,
        values: dict[str, object],
        passed: Mapping[str, object],
        forced: Mapping[str, object],
        mapped: frozenset[str],
        shared: dict[str, Input],
    ) -> dict[str, Input]:
        """Return the inputs of one call: its values, those of the configuration (`forced`), and defaults.

        `passed` are those of `values` that the call itself passes.
        """
        arguments = arguments_of(step.entrypoint)
        for name, value in forced.items():
            if name not in arguments:
                raise NotFoundError("parameter", name, known=arguments, within=f"of step '{call.step}'")
            if holds_placeholder(values.get(name)):
                raise UsageError(
                    f"Parameter '{name}' of step '{call.step}' can't be set in the configuration.",
                    why="In the pipeline, it is another step's output.",
                    hint="Remove it from the configuration.",
                )
            if name in passed:
                refuse_conflict(
                    f"Parameter '{name}' of step '{call.step}'", passed[name], value, self.configuration.place
                )
            values[name] = value
        refuse_missing(f"Step '{step.name}'", arguments, values)
        inputs: dict[str, Input] = {}
        for name, argument in arguments.items():
            if name not in values:
                continue
            if name not in shared:
                shared[name] = input_of(
                    call, argument, values[name], mapped=name in mapped, is_text=name in forced
                )
            inputs[name] = shared[name]
        # Defaults are stored too, so that the catalog shows every value that the step ran with.
        for name, argument in arguments.items():
            if name in values or argument.is_required:
                continue
            place = (step.entrypoint, name)
            if place not in self._defaults:
                self._defaults[place] = default_input(call, argument)
            default = self._defaults[place]
            if default is not None:
                inputs[name] = default
        return inputs

    def _local_types(self, step: Step[..., R], source: SourceRef) -> Mapping[str, type]:
        if source.pickled is None:
            return {}
        if step.entrypoint not in self._local:
            from rayform_runtime.artifacts.exact_values import types_within

            self._local[step.entrypoint] = types_within(step.entrypoint)
        return self._local[step.entrypoint]

    def _unrolled(
        self, step: Step[..., R], values: Mapping[str, object], lists: Mapping[str, Sequence[object]]
    ) -> object:
        """Map over lists whose elements are known now: add one step for each element."""
        lengths = {name: len(elements) for name, elements in lists.items()}
        if len(set(lengths.values())) != 1:
            shown = ", ".join(f"'{n}' has {length}" for n, length in lengths.items())
            raise UsageError(
                f"Step '{step.name}' is mapped over lists of different lengths: {shown} elements.",
                hint="Give a list that isn't to be split as `unmapped(...)`.",
            )
        shared: dict[str, Input] = {}
        rows = []
        for elements in zip(*lists.values(), strict=True):
            rows.append(self._add(step, {**values, **dict(zip(lists, elements, strict=True))}, shared=shared))
            for name in lists:
                shared.pop(name, None)
        if len(outputs_of(step.entrypoint)) <= 1:
            return rows
        columns = zip(*(row for row in rows if isinstance(row, tuple)), strict=True)
        return tuple(list(column) for column in columns)

    def _new_key(self, step: Step[..., R]) -> str:
        name = step.name
        key = step.options.get("id")
        if key is None:
            key = name
            while key in self.steps:
                # Counts on from the last number, so that a thousand calls of one step don't try a million keys.
                self._counts[name] = count = self._counts.get(name, 1) + 1
                key = f"{name}_{count}"
        elif key in self.steps:
            raise UsageError(
                f"Two steps of pipeline '{self.pipeline.name}' have the ID '{key}'.",
                hint="Give each its own ID, or leave out `id`.",
            )
        return key

    def _upstream_keys(self, key: str, upstream: Sequence[object]) -> list[str]:
        """Return the keys of the steps that `after=` names by results of step calls or by keys."""
        keys = []
        for results in upstream:
            for item in results if isinstance(results, list | tuple) else [results]:
                earlier = item.step_key if isinstance(item, StepArtifact) else item
                if not isinstance(earlier, str):
                    raise UsageError(
                        f"Step '{key}' can't start after a value of type {type(item).__name__}.",
                        hint="Give the result of an earlier step call, or that step's key.",
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


def bound(
    step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[Step[..., R], dict[str, object]]:
    """Return the step with the options in its call, and the call's values by argument name."""
    arguments = arguments_of(step.entrypoint)
    # `after=` and `id=` in the call are ZenML's way; the typed way is `.after(...)` and `with_options(id=...)`.
    if "after" in kwargs and "after" not in arguments:
        after = kwargs.pop("after")
        step = step.after(*after) if isinstance(after, list | tuple) else step.after(after)
    if "id" in kwargs and "id" not in arguments and (key := kwargs.pop("id")) is not None:
        step = step.with_options(id=str(key))
    return step, bind(f"Step '{step.name}'", arguments, args, kwargs)


def trace_call(
    pipeline: Pipeline[..., object],
    args: tuple[object, ...] = (),
    kwargs: Mapping[str, object] | None = None,
    *,
    config_path: str | Path | None = None,
    parameters: Mapping[str, object] | None = None,
    run_inputs: RunInputs | None = None,
) -> PipelineSpec:
    """Return what a run of this pipeline call would execute, with the place of its code.

    Args:
        pipeline: the pipeline.
        args, kwargs: the call's arguments.
        config_path: configuration file; by default the pipeline's own, if it has one.
        parameters: values that override code and configuration file.
        run_inputs: takes the values that materializers store; by default they are not kept.

    Raises:
        UsageError: an argument, an option, the configuration or the body is wrong.
        NotFoundError: the configuration file doesn't exist, or names a step or parameter that doesn't exist.
    """
    path = config_path or pipeline.options.get("config_path")
    configuration: Overrides = NOTHING
    if path:
        from rayform.authoring.configuration import read_configuration

        configuration = read_configuration(path)
    if parameters:
        configuration = configuration.with_parameters(parameters)
    repair_main()
    spec = trace_pipeline(pipeline, args, dict(kwargs or {}), configuration, run_inputs)
    place = code_place(pipeline.entrypoint.__module__)
    update = {
        "code_root": str(place.root),
        "import_paths": list(place.import_paths),
        "program": program_of(spec),
    }
    return spec.model_copy(update=update)


def trace_pipeline(
    pipeline: Pipeline[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
    configuration: Overrides,
    run_inputs: RunInputs | None = None,
) -> PipelineSpec:
    """Run a pipeline's body with placeholders and return the pipeline that it describes.

    Args:
        pipeline: the pipeline.
        args, kwargs: the call's arguments.
        configuration: what overrides code; `NOTHING` for none.
        run_inputs: takes the values that materializers store; by default they are not kept.

    Raises:
        UsageError: an argument, an option or the body is wrong.
        NotFoundError: the configuration names a step or parameter that doesn't exist.
    """
    if run_inputs is None:
        with RunInputs() as dropped:
            return trace_pipeline(pipeline, args, kwargs, configuration, dropped)
    what = f"Pipeline '{pipeline.name}'"
    refuse_invalid_name("A pipeline", pipeline.name)
    arguments = pipeline_arguments(pipeline, args, kwargs, configuration)
    trace = Trace(pipeline, configuration, run_inputs)
    if pipeline.options.get("dynamic"):
        from rayform.authoring.flow.dynamic_spec import as_dynamic

        return as_dynamic(pipeline_spec(trace, arguments.shown, None), trace, arguments, run_inputs)
    token = current_trace.set(trace)
    try:
        result = pipeline.entrypoint(**arguments.values)
    finally:
        current_trace.reset(token)
    if not trace.steps:
        raise UsageError(
            f"{what} has no steps.",
            why="Its body called no function that is decorated with @step.",
            hint="Call at least one step in it.",
        )
    _refuse_unknown_steps(trace)
    if trace.ignored:
        from rayform.logger import get_logger

        get_logger("rayform").warning(
            "%s asks for what Rayform has no counterpart of, and ignores: %s. See docs/from-zenml.md.",
            what,
            ", ".join(trace.ignored),
        )
    return pipeline_spec(trace, arguments.shown, result)


def _refuse_unknown_steps(trace: Trace) -> None:
    names = {*trace.steps, *trace.names}
    for name in trace.configuration.steps:
        if name not in names:
            raise NotFoundError("step", name, known=names, within=f"in pipeline '{trace.pipeline.name}'")
