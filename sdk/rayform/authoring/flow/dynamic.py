"""Traces the body of a dynamic pipeline: each step call becomes a call of the run, which starts at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rayform.authoring.flow.futures import (
    MapResults,
    StepFailedError,
    StepFuture,
    StepOutput,
    StepSkippedError,
)
from rayform.authoring.options.overrides import Overrides
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.run_inputs import RunInputs
from rayform.authoring.signatures import outputs_of
from rayform.authoring.steps import Step, Unmapped
from rayform.authoring.tracing import Trace, bound
from rayform_core.errors import UsageError
from rayform_runtime.components import ComponentKind

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform_runtime.components import Stack
    from rayform_runtime.execution.scheduling.dynamic.calls import Calls, EndedCall
    from rayform_runtime.spec import ImageSpec, StepSpec

__all__ = ["DynamicTrace"]

R = TypeVar("R")


class DynamicTrace(Trace):
    """The trace of a dynamic pipeline whose run goes on.

    Args:
        pipeline: the outermost pipeline.
        configuration: what overrides the options in code.
        stack: has the values that the body loads.
        calls: receives each call.
        step_images: images that were built for steps with one of their own, by the step's name.
    """

    is_dynamic = True

    def __init__(
        self,
        pipeline: Pipeline[..., object],
        configuration: Overrides,
        stack: Stack,
        calls: Calls,
        step_images: Mapping[str, ImageSpec],
    ) -> None:
        super().__init__(pipeline, configuration, RunInputs())
        self._stack = stack
        self._calls = calls
        self._step_images = step_images
        self._thread = threading.get_ident()  # the body's
        # Whether plain calls return at once: in the body of a static pipeline that this one calls.
        self._is_inside_static = False

    # -- called by Step and Pipeline ----------------------------------------------------------------------
    def add_step(
        self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> StepArtifact | tuple[StepArtifact, ...]:
        """Run a step and wait for its end; return its outputs."""
        future = self.submit_step(step, args, kwargs)
        if not self._is_inside_static:
            future.wait()
        return future.outputs[0] if len(future.outputs) == 1 else future.outputs

    def submit_step(
        self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> StepFuture[R]:
        """Start a step and return its future."""
        kwargs = {name: _outputs_in(value) for name, value in kwargs.items()}
        step, values = bound(step, tuple(_outputs_in(value) for value in args), kwargs)
        return self._submit(step, values)

    def map_step(self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Start a step for each element of lists of equal length; see `Step.map`."""
        return self._fan_out(step, args, kwargs, is_product=False)

    def product_step(self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Start a step for each combination of elements; see `Step.product`."""
        return self._fan_out(step, args, kwargs, is_product=True)

    def inline(
        self, pipeline: Pipeline[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Run another pipeline's body; see `Trace.inline`. Steps of a static one run side by side."""
        outer = self._is_inside_static
        self._is_inside_static = not pipeline.options.get("dynamic", False)
        args = tuple(_outputs_in(value) for value in args)
        try:
            return super().inline(
                pipeline, args, {name: _outputs_in(value) for name, value in kwargs.items()}
            )
        finally:
            self._is_inside_static = outer

    # -- called by futures --------------------------------------------------------------------------------
    def ended(self, key: str) -> EndedCall:
        """Wait for a step's end.

        Raises:
            StepFailedError: it failed.
            StepSkippedError: it was skipped.
        """
        ended = self._calls.wait(key)
        if ended.error is not None:
            raise StepFailedError(key, ended.error)
        if not ended.status.is_successful:
            raise StepSkippedError(key, ended.reason)
        return ended

    def has_ended(self, key: str) -> bool:
        """Return whether a step has ended."""
        return self._calls.has_ended(key)

    def load(self, key: str, output: str) -> Any:
        """Wait for a step's end, and load one of its outputs."""
        from rayform_runtime.artifacts.values import load_value

        version = self.ended(key).outputs[output]
        return load_value(
            self._stack.artifact_store,
            version.uri,
            digest=version.digest,
            type=version.type,
            materializer=version.materializer,
        )

    # -- calls --------------------------------------------------------------------------------------------
    def _submit(self, step: Step[..., R], values: Mapping[str, object]) -> StepFuture[R]:
        if threading.get_ident() != self._thread:
            raise UsageError(
                f"Step '{step.name}' is called in another thread than the body of pipeline '{self.pipeline.name}'.",
                why="The order of calls must be the same when the run is resumed.",
                hint="Call it in the body itself; `.submit(...)` lets steps run side by side.",
            )
        with RunInputs() as run_inputs:
            self._run_inputs = run_inputs
            added = self._add(step, values)
            run_inputs.save(self._stack)
        artifacts = added if isinstance(added, tuple) else (added,)
        spec = self.steps[artifacts[0].step_key]
        self._refuse_unbuilt(spec)
        self._calls.add(spec)
        return StepFuture([StepOutput(artifact, self) for artifact in artifacts], self)

    def _refuse_unbuilt(self, step: StepSpec) -> None:
        """Refuse a step whose image was not built before the run, on stacks that run steps in images.

        Raises:
            UsageError: says where to name the step.
        """
        if step.image is None or ComponentKind.CONTAINER_REGISTRY not in self._stack.spec.components:
            return
        if step.image not in (self.defaults.image, self._step_images.get(step.name)):
            raise UsageError(
                f"The image of step '{step.key}' isn't built.",
                why="Images are built before the run, when the calls of a dynamic pipeline aren't known.",
                hint=f"Name the step: @pipeline(dynamic=True, depends_on=[{step.name}]), and give it its image by "
                "`@step(image=...)`.",
            )

    def _fan_out(
        self, step: Step[..., R], args: tuple[object, ...], kwargs: dict[str, object], *, is_product: bool
    ) -> object:
        kwargs = {name: _outputs_in(value) for name, value in kwargs.items()}
        step, values = bound(step, tuple(_outputs_in(value) for value in args), kwargs)
        lists = {
            name: elements for name, value in values.items() if (elements := _elements(value)) is not None
        }
        whole = {
            name: value.value if isinstance(value, Unmapped) else value
            for name, value in values.items()
            if name not in lists
        }
        whole = {name: _outputs_in(value) for name, value in whole.items()}
        if not lists:
            raise UsageError(
                f"Step '{step.name}' is mapped over nothing.",
                why="None of its arguments is a list or an output of a step.",
                hint=f"Write `{step.name}(...)` to run it once.",
            )
        lengths = {name: len(elements) for name, elements in lists.items()}
        if not is_product and len(set(lengths.values())) > 1:
            shown = ", ".join(f"'{name}' has {length}" for name, length in lengths.items())
            raise UsageError(
                f"Step '{step.name}' is mapped over lists of different lengths: {shown} elements.",
                hint="Give a list that isn't to be split as `unmapped(...)`; `.product(...)` takes each combination.",
            )
        rows: Iterable[tuple[object, ...]] = (
            itertools.product(*lists.values()) if is_product else zip(*lists.values(), strict=True)
        )
        width = max(1, len(outputs_of(step.entrypoint)))
        futures = [self._submit(step, {**whole, **dict(zip(lists, row, strict=True))}) for row in rows]
        results: MapResults[R] = MapResults(futures, width)
        # The body of a static pipeline unpacks the lists of several outputs.
        return results.unpack() if self._is_inside_static and width > 1 else results


def _outputs_in(value: object) -> Any:
    """Return a value with the outputs of its futures in their place."""
    if isinstance(value, StepFuture):
        return value.only_output()
    if isinstance(value, MapResults):
        return [future.only_output() for future in value]
    if type(value) is list and any(isinstance(one, StepFuture) for one in value):
        return [_outputs_in(one) for one in value]
    if type(value) is tuple and any(isinstance(one, StepFuture) for one in value):
        return tuple(_outputs_in(one) for one in value)
    return value


def _elements(value: object) -> Sequence[object] | None:
    """Return the elements that a mapped step gets one by one; `None` for what each instance gets as a whole."""
    if isinstance(value, StepOutput):
        return value.elements()
    return value if isinstance(value, list | tuple | range) else None
