"""The calls of a dynamic pipeline: the body's thread adds them and waits for them, the scheduler's loop runs them.

A resumed run replays its body. `Calls` compares each call with the one that is recorded at the same position, so that
a body that takes another way is refused before it starts anything.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rayform_core.errors import ConflictError
from rayform_runtime.catalog.calls import RunCall
from rayform_runtime.catalog.entities import StepError, StepStatus
from rayform_runtime.execution.scheduling.graph import Node, VersionRef
from rayform_runtime.spec import StepSpec, ValueInput

__all__ = ["BodyStopped", "Calls", "EndedCall", "NewCall", "OtherWayError"]

_SHOWN = 200
"""Characters of a call that an error shows."""
_POLL_SECONDS = 0.005
"""How long the loop blocks while the body runs and may add a call at any moment."""


class BodyStopped(BaseException):
    """Ends the body of a run that was stopped; user code that catches `Exception` doesn't catch it."""


class OtherWayError(ConflictError):
    """The replayed body of a resumed run made another call than before."""


class NewCall(NamedTuple):
    """A call that the loop has not taken up."""

    step: StepSpec
    record: RunCall | None
    """What the catalog must know before the step starts; `None` if it knows it."""


class EndedCall(NamedTuple):
    """How a call ended."""

    status: StepStatus
    outputs: Mapping[str, VersionRef]
    error: StepError | None
    reason: str
    """Why it was skipped; empty otherwise."""


class Calls:
    """What the body and the loop share. Every method may be called from either thread.

    Args:
        pipeline: the pipeline's name, for errors.
        recorded: the calls that earlier processes of this run recorded, in their order.
        finished: keys of the steps with a recorded result.
    """

    def __init__(
        self, pipeline: str, recorded: Sequence[RunCall] = (), finished: frozenset[str] = frozenset()
    ) -> None:
        self._pipeline = pipeline
        self._recorded = [
            (StepSpec.model_validate({**call.step, "signature": None}), call) for call in recorded
        ]
        self._finished = finished
        self._changed = threading.Condition()
        # What follows is guarded by the condition.
        self._count = 0  # calls that the body has made
        self._new: list[NewCall] = []  # grows with `add`, emptied by `take`
        self._ended: dict[str, EndedCall] = {}  # by step key; grows as steps end
        self._received: list[str] = []  # failures whose errors the body got since its last call
        self._handled: set[str] = set()  # all failures whose errors the body got
        self._waiting = False  # whether the body blocks in `wait`
        self._body_ended = False  # set once the body has returned or raised
        self._stopping = False  # set by `stop`
        self._refusal: OtherWayError | None = None  # set by the first call that differs

    # -- the body's side ----------------------------------------------------------------------------------
    def add(self, step: StepSpec) -> None:
        """Add a call; the loop starts it as soon as its inputs are there.

        Raises:
            OtherWayError: an earlier process of this run made another call here.
            BodyStopped: the run was stopped.
        """
        with self._changed:
            self._check()
            position = self._count
            failures, self._received = tuple(self._received), []
            record: RunCall | None = RunCall(position, step.model_dump(mode="json"), failures)
            if position < len(self._recorded):
                before, call = self._recorded[position]
                self._compare(position, before, step)
                if before.key in self._finished or before == step:
                    record = None
                    assert call.position == position
            self._count += 1
            self._new.append(NewCall(step, record))
            self._changed.notify_all()

    def wait(self, key: str) -> EndedCall:
        """Block until the step with this key has ended, and return how.

        Raises:
            OtherWayError: the body took another way before.
            BodyStopped: the run was stopped.
        """
        with self._changed:
            self._check()
            self._waiting = True
            try:
                while key not in self._ended:
                    self._changed.notify_all()
                    self._changed.wait()
                    self._check()
            finally:
                self._waiting = False
            ended = self._ended[key]
            if not ended.status.is_successful and key not in self._handled:
                self._handled.add(key)
                self._received.append(key)
            return ended

    def has_ended(self, key: str) -> bool:
        """Whether the step with this key has ended."""
        with self._changed:
            return key in self._ended

    def finish_body(self) -> None:
        """Note that the body has returned or raised."""
        with self._changed:
            self._body_ended = True
            self._changed.notify_all()

    def refuse_early_end(self) -> None:
        """Refuse a body that returned although an earlier process of this run made more calls.

        Raises:
            OtherWayError: names the first call that is missing.
        """
        with self._changed:
            self._check()
            if self._count < len(self._recorded):
                before = self._recorded[self._count][0]
                raise self._refuse(self._count, before, "it ended without that call")

    def _check(self) -> None:
        if self._stopping:
            raise BodyStopped
        if self._refusal is not None:
            raise self._refusal  # code that catches the error must not go on with another way

    def _compare(self, position: int, before: StepSpec, now: StepSpec) -> None:
        # A call without a result may have other arguments now: users fix their code and resume.
        is_same = (before.key, before.name, before.source.qualname) == (
            now.key,
            now.name,
            now.source.qualname,
        )
        if is_same and before.key in self._finished:
            is_same = _arguments(before) == _arguments(now)
        if not is_same:
            raise self._refuse(position, before, f"it is {_shown(now)}")

    def _refuse(self, position: int, before: StepSpec, now: str) -> OtherWayError:
        self._refusal = OtherWayError(
            f"The body of pipeline '{self._pipeline}' took another way than before the run was resumed.",
            why=f"Call {position + 1} was {_shown(before)}, and now {now}.",
            hint="Read what may change (time, random numbers, files) in a step, or run the pipeline again from its "
            "beginning.",
        )
        return self._refusal

    # -- the loop's side ----------------------------------------------------------------------------------
    def take(self) -> list[NewCall]:
        """Return the calls that were added since the last time."""
        with self._changed:
            new, self._new = self._new, []
            return new

    def end(self, node: Node, error: StepError | None, reason: str) -> None:
        """Note that a step has ended."""
        outputs = node.instances[0].outputs if node.instances else {}
        with self._changed:
            self._ended[node.key] = EndedCall(node.status, dict(outputs), error, reason)
            self._changed.notify_all()

    def wait_for_body(self, timeout: float) -> None:
        """Block until the body adds a call or ends, at most `timeout` seconds."""
        with self._changed:
            if not self._new and not self._body_ended:
                self._changed.wait(timeout)

    def patience(self) -> float:
        """Return how long the loop may wait for workers without looking for new calls."""
        with self._changed:
            if self._new:
                return 0.0
            return float("inf") if self._waiting or self._body_ended else _POLL_SECONDS

    def stop(self) -> None:
        """End the body at its next call or wait."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @property
    def are_over(self) -> bool:
        """Whether the body has ended and all its calls were taken."""
        with self._changed:
            return self._body_ended and not self._new

    @property
    def handled(self) -> set[str]:
        """Keys of the failed steps whose errors the body received."""
        with self._changed:
            return set(self._handled)

    @property
    def refusal(self) -> OtherWayError | None:
        """The error of the first call that differs from the recorded one."""
        with self._changed:
            return self._refusal


def _arguments(step: StepSpec) -> object:
    return {name: source.model_dump(mode="json") for name, source in step.inputs.items()}


def _shown(step: StepSpec) -> str:
    """Return a call as a user would write it."""
    arguments = []
    for name, source in step.inputs.items():
        if isinstance(source, ValueInput):
            arguments.append(f"{name}={source.value!r}")
        else:
            earlier = getattr(source, "step", None)
            arguments.append(f"{name}=<{earlier}>" if earlier else f"{name}=…")
    text = f"{step.name}({', '.join(arguments)})"
    key = f" as '{step.key}'" if step.key != step.name else ""
    return f"`{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}`{key}"
