"""Records the facts about a run's code that git reported only after the run had begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from rayform_runtime.catalog.interface import Catalog
from rayform_runtime.execution.interface import LateCodeFacts

__all__ = ["LateCode"]

_WAIT = 1.0
"""Seconds after which late facts get a commit of their own; a shorter run records them with its end."""


class LateCode:
    """The late facts of one run.

    Args:
        catalog: receives the facts.
        run_id: the run.
        facts: `None` if the run was recorded with its facts.
        clock: seconds that only grow.
    """

    def __init__(
        self, catalog: Catalog, run_id: UUID, facts: LateCodeFacts | None, clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self._facts = facts  # becomes `None` when they are recorded
        self._clock = clock
        self._began = clock()

    def record_if_due(self) -> None:
        """Record the facts if the run has gone on for a while and git has answered."""
        if self._facts is not None and self._clock() - self._began > _WAIT:
            facts = self._facts.poll()
            if facts is not None:
                self._facts = None
                self._catalog.set_run_code(self._run_id, facts.as_record())

    def poll(self) -> Mapping[str, object] | None:
        """Return the facts that are not recorded yet, if git has answered."""
        facts = self._facts.poll() if self._facts is not None else None
        return facts.as_record() if facts is not None else None

    def wait(self) -> Mapping[str, object] | None:
        """Return the facts that are not recorded yet, as soon as git has answered."""
        return self._facts.wait().as_record() if self._facts is not None else None
