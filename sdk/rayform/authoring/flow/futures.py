"""What a step call returns in the body of a dynamic pipeline: outputs that can be loaded, and futures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, cast, overload

from rayform.authoring.placeholders import StepArtifact, StepArtifactMisuseError
from rayform_core.errors import PipelineFailedError, UsageError

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import StepError
    from rayform_runtime.execution.scheduling.dynamic.calls import EndedCall

__all__ = ["MapResults", "StepFailedError", "StepFuture", "StepOutput", "StepSkippedError"]

R = TypeVar("R")


class StepFailedError(PipelineFailedError):
    """A step that the body of a dynamic pipeline waits for failed; catch it to go on without the step.

    Attributes:
        step_key: the step's key.
        error: type, message and traceback of what the step raised.
    """

    def __init__(self, step_key: str, error: StepError) -> None:
        super().__init__(
            f"Step '{step_key}' failed: {error.type}: {error.message}",
            why=error.traceback.strip() or None,
            hint="Fix the step, or catch `rayform.StepFailedError` where the body asks for the result.",
        )
        self.step_key = step_key
        self.error = error


class StepSkippedError(PipelineFailedError):
    """A step that the body of a dynamic pipeline waits for was skipped, or stopped, so that it has no result.

    Attributes:
        step_key: the step's key.
    """

    def __init__(self, step_key: str, reason: str) -> None:
        super().__init__(
            f"Step '{step_key}' was skipped, so it has no result.",
            why=f"It {reason}." if reason.startswith("needs") else reason or None,
            hint="Catch `rayform.StepSkippedError` where the body asks for the result.",
        )
        self.step_key = step_key


class Waits(Protocol):
    """Waits for steps and loads their outputs; the trace of a dynamic pipeline."""

    def ended(self, key: str) -> EndedCall:
        """Wait for a step; raise if it failed or was skipped."""
        ...

    def has_ended(self, key: str) -> bool:
        """Return whether a step has ended."""
        ...

    def load(self, key: str, output: str) -> Any:
        """Wait for a step and load one of its outputs."""
        ...


class StepOutput(StepArtifact):
    """An output of a step in a dynamic pipeline: pass it to other steps, or load its value.

    Args:
        artifact: the output, as each pipeline has it.
        waits: waits for the step.
        index: which element of the output this is; `None` for the whole output.
    """

    __slots__ = ("_waits",)

    def __init__(self, artifact: StepArtifact, waits: Waits, index: int | None = None) -> None:
        super().__init__(
            artifact.step_key, artifact.output_name, artifact.annotation, artifact.is_mapped, artifact.owner
        )
        self.index = index
        self._waits = waits

    def load(self) -> Any:
        """Wait for the step's end, and return the value.

        Raises:
            StepFailedError: the step failed.
            StepSkippedError: the step was skipped.
            RayformError: the value can't be loaded here.
        """
        if self.output_name is None:
            self.wait()
            return None
        value = self._waits.load(self.step_key, self.output_name)
        return value if self.index is None else value[self.index]

    def wait(self) -> None:
        """Wait for the step's end.

        Raises:
            StepFailedError, StepSkippedError: it has no result.
        """
        self._waits.ended(self.step_key)

    def result(self) -> StepOutput:
        """Wait for the step's end, and return this output.

        Raises:
            StepFailedError, StepSkippedError: it has no result.
        """
        self.wait()
        return self

    def chunk(self, index: int) -> StepOutput:
        """Return one element of an output that is a list or tuple, to pass it to a step without loading it here.

        Args:
            index: counts from 0.

        Raises:
            UsageError: the output isn't a list, or has no such element.
        """
        length = self.length()
        if not 0 <= index < length:
            raise UsageError(f"{self._name()} has {length} elements, and none with the index {index}.")
        return self.elements()[index]

    def length(self) -> int:
        """Wait for the step's end, and return how many elements its output has.

        Raises:
            UsageError: the output is neither a list nor a tuple.
        """
        ended = self._waits.ended(self.step_key)
        version = ended.outputs.get(self.output_name or "")
        if version is None or version.length is None or self.index is not None:
            raise UsageError(
                f"{self._name()} has no elements.",
                why="What the step returned is neither a list nor a tuple.",
                hint="Return a list from it, or give the value as `unmapped(...)`.",
            )
        return version.length

    def elements(self) -> list[StepOutput]:
        """Wait for the step's end, and return its output's elements.

        Raises:
            UsageError: the output is neither a list nor a tuple.
        """
        from rayform.authoring.inputs import element_annotation

        length = self.length()
        element = StepArtifact(self.step_key, self.output_name, element_annotation(self), False, self.owner)
        return [StepOutput(element, self._waits, index) for index in range(length)]

    def _name(self) -> str:
        step = f"step '{self.step_key}'"
        return f"Output '{self.output_name}' of {step}" if self.output_name else f"The end of {step}"

    def _misused(
        self, how: str, instead: str | None = None, kind: type[UsageError] = StepArtifactMisuseError
    ) -> NoReturn:
        raise kind(
            f"{self._name()} can't be {how}.",
            why="It stands for the value, which other steps get without loading it here.",
            hint="Write `.load()` to get the value.",
        )


class StepFuture(Generic[R]):
    """A step that was submitted, and runs next to the body of a dynamic pipeline.

    Args:
        outputs: its outputs; one without a name for a step that returns nothing.
    """

    def __init__(self, outputs: Sequence[StepOutput], waits: Waits) -> None:
        self.outputs = tuple(outputs)
        self._waits = waits

    @property
    def step_key(self) -> str:
        """The step's key."""
        return self.outputs[0].step_key

    @property
    def running(self) -> bool:
        """Whether the step has not ended yet."""
        return not self._waits.has_ended(self.step_key)

    def wait(self) -> None:
        """Wait for the step's end.

        Raises:
            StepFailedError, StepSkippedError: it has no result.
        """
        self._waits.ended(self.step_key)

    def result(self) -> Any:
        """Wait for the step's end, and return its output, or a tuple of its outputs.

        Raises:
            StepFailedError, StepSkippedError: it has no result.
        """
        self.wait()
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    artifacts = result

    def load(self) -> R:
        """Wait for the step's end, and return what it returned.

        Raises:
            StepFailedError, StepSkippedError: it has no result.
            RayformError: a value can't be loaded here.
        """
        values = tuple(output.load() for output in self.outputs)
        return cast("R", values[0] if len(values) == 1 else values)

    def only_output(self) -> StepOutput:
        """Return the step's only output.

        Raises:
            UsageError: it has several.
        """
        if len(self.outputs) != 1:
            names = ", ".join(f"'{output.output_name}'" for output in self.outputs)
            raise UsageError(
                f"Step '{self.step_key}' has {len(self.outputs)} outputs: {names}.",
                hint="Unpack them: `first, second = the_step.submit(...)`.",
            )
        return self.outputs[0]

    def __iter__(self) -> Iterator[StepOutput]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __getitem__(self, index: int) -> StepOutput:
        return self.outputs[index]

    def __repr__(self) -> str:
        return f"<future of step '{self.step_key}'>"


class MapResults(Sequence[StepFuture[R]], Generic[R]):
    """The futures of a step that runs for each element of a list: in their order."""

    def __init__(self, futures: Sequence[StepFuture[R]], width: int) -> None:
        self._futures = tuple(futures)
        self._width = width  # how many outputs the step has

    def load(self) -> list[R]:
        """Wait for all, and return what they returned.

        Raises:
            StepFailedError, StepSkippedError: one has no result.
        """
        return [future.load() for future in self._futures]

    def result(self) -> list[Any]:
        """Wait for all, and return the output, or the tuple of outputs, of each.

        Raises:
            StepFailedError, StepSkippedError: one has no result.
        """
        return [future.result() for future in self._futures]

    artifacts = result

    def unpack(self) -> tuple[list[StepOutput], ...]:
        """Return a list for each output of the step: `models, scores = train.map(parts).unpack()`."""
        return tuple([future.outputs[i] for future in self._futures] for i in range(self._width))

    def __len__(self) -> int:
        return len(self._futures)

    @overload
    def __getitem__(self, index: int) -> StepFuture[R]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[StepFuture[R], ...]: ...
    def __getitem__(self, index: int | slice) -> StepFuture[R] | tuple[StepFuture[R], ...]:
        return self._futures[index]
