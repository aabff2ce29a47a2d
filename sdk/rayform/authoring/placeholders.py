"""`StepArtifact`: the placeholder that a step call returns in a pipeline's body, where no value exists yet."""

from __future__ import annotations

from typing import NoReturn

from rayform.authoring.steps import current_trace
from rayform_core.errors import UsageError

__all__ = ["StepArtifact", "StepArtifactMisuseError"]


class StepArtifactMisuseError(UsageError):
    """A step's output was used as a value in a pipeline's body."""


class _NoSuchAttributeError(StepArtifactMisuseError, AttributeError):
    """The same for a missing attribute; as an `AttributeError` it keeps `hasattr` usable."""


class StepArtifact:
    """Stands for an output of a step while a pipeline is traced; give it to other steps.

    A pipeline's body only says which step gets which output. It runs once, before any step, so this object has no
    value. Every use that would need a value raises an error that says what to write instead.

    Args:
        step_key: the step's key in the pipeline.
        output_name: the output's name; `None` for a step that returns nothing.
        annotation: the output's annotated type, or `Any`.
        is_mapped: whether the step runs once for each element of a list, so that this is a list.
        owner: the steps of the pipeline that it belongs to. Another pipeline may have a step of the same key, so
            the key alone doesn't tell.
    """

    __slots__ = ("annotation", "index", "is_mapped", "output_name", "owner", "step_key")

    def __init__(
        self,
        step_key: str,
        output_name: str | None,
        annotation: object,
        is_mapped: bool,
        owner: object = None,
    ) -> None:
        self.owner = owner
        self.step_key = step_key
        self.output_name = output_name
        self.annotation = annotation
        self.is_mapped = is_mapped
        # Which element of the output this is, in a dynamic pipeline; `None` for the whole output.
        self.index: int | None = None

    def describe(self) -> str:
        """Return a text for errors of Rayform."""
        what = f"output '{self.output_name}'" if self.output_name else "end"
        return f"<{what} of step '{self.step_key}', known once the run is under way>"

    def refuse_inside(self, what: str) -> NoReturn:
        """Refuse this placeholder inside of another value; `what` names the argument."""
        raise StepArtifactMisuseError(
            f"{what} is a value that holds a step's output.",
            hint="Give each output as its own argument, or several as a list.",
        )

    def _misused(
        self, how: str, instead: str | None = None, kind: type[UsageError] = StepArtifactMisuseError
    ) -> NoReturn:
        name = f"Output '{self.output_name}'" if self.output_name else "The end"
        raise kind(
            f"{name} of step '{self.step_key}' can't be {how} in the pipeline's body.",
            why="The body runs before any step does, to see how the steps are wired, so there is no value yet.",
            hint=instead
            or "Do that in a step: move this code into a function with @step and give it the output.",
        )

    def __bool__(self) -> NoReturn:
        self._misused(
            "used as a condition",
            "Move the `if` into a step that gets the output; a condition on a pipeline's parameter works here.",
        )

    def __iter__(self) -> NoReturn:
        self._misused(
            "iterated over or unpacked",
            "To run a step for each element, write `that_step.map(output)`. To get several outputs from one "
            "step, annotate its return as `tuple[A, B]` and write the tuple out: `return a, b`.",
        )

    def __len__(self) -> NoReturn:
        self._misused("measured with `len()`")

    def __contains__(self, item: object) -> NoReturn:
        self._misused("searched with `in`")

    def __getitem__(self, index: object) -> NoReturn:
        self._misused(
            "indexed",
            "Pick the element in a step; to run a step for each element, write `that_step.map(output)`.",
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._misused(f"asked for `.{name}`", kind=_NoSuchAttributeError)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        self._misused("called")

    def __format__(self, spec: str) -> NoReturn:
        self._misused("put into a text")

    def __str__(self) -> NoReturn:
        self._misused("turned into text")

    def __repr__(self) -> str:
        # The text of a list has this of its elements, so it must not slip into a text either. Where no body runs, a
        # debugger or an interactive session shows it.
        if current_trace.get() is not None:
            self._misused("turned into text")
        return self.describe()

    def __hash__(self) -> int:
        if current_trace.get() is not None:
            self._misused("used as a key or in a set")
        return id(self)

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        self._misused("made an array")

    def __fspath__(self) -> NoReturn:
        self._misused("used as a path")

    def __setitem__(self, index: object, value: object) -> NoReturn:
        self._misused("changed")

    def __delitem__(self, index: object) -> NoReturn:
        self._misused("changed")

    def _compared(self, other: object) -> NoReturn:
        self._misused("compared")

    def _calculated(self, *others: object) -> NoReturn:
        self._misused("calculated with")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _compared
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _calculated
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = (
        _calculated
    )
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = _calculated
    __divmod__ = __rdivmod__ = __trunc__ = __floor__ = __ceil__ = __complex__ = __bytes__ = _calculated
    __reversed__ = __next__ = __enter__ = __await__ = _calculated
    __neg__ = __pos__ = __abs__ = __invert__ = __int__ = __float__ = __index__ = __round__ = _calculated
