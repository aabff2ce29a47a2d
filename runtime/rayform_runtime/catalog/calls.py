"""The calls that bodies of dynamic pipelines make while their runs go on, and the catalog's interface for them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

__all__ = ["CallRecords", "RunCall"]


class RunCall(NamedTuple):
    """One call of a step in the body of a dynamic pipeline.

    Args:
        position: which call of the run it is, from 0.
        step: the `StepSpec` as JSON.
        failures: keys of the failed steps whose errors the body had received when it made the call.
    """

    position: int
    step: Mapping[str, object]
    failures: Sequence[str] = ()


class CallRecords(abc.ABC):
    """The catalog's interface for calls of dynamic pipelines."""

    @abc.abstractmethod
    def record_calls(self, run_id: UUID, calls: Sequence[RunCall]) -> None:
        """Record calls of a dynamic pipeline's body, in one commit. A call at a position replaces the one before.

        Raises:
            NotFoundError: the run was deleted.
        """

    @abc.abstractmethod
    def list_calls(self, run_id: UUID) -> list[RunCall]:
        """Return the recorded calls of a run in their order; none if its pipeline isn't dynamic."""
