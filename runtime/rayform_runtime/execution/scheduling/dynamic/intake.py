"""Takes up the calls of a dynamic pipeline's body: records them, and adds them to the graph of the run."""

from __future__ import annotations

from collections.abc import Mapping

from rayform_core.errors import RayformError
from rayform_core.machine_key import sign
from rayform_runtime.catalog.calls import RunCall
from rayform_runtime.catalog.entities import RunStatus, StepError
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import Executor, RunRequest
from rayform_runtime.execution.scheduling.cache_lookup import CacheLookup
from rayform_runtime.execution.scheduling.dynamic.body import Body
from rayform_runtime.execution.scheduling.dynamic.calls import Calls
from rayform_runtime.execution.scheduling.frontier import Frontier
from rayform_runtime.execution.scheduling.graph import stored_ids
from rayform_runtime.execution.scheduling.opening import OpenedRun
from rayform_runtime.execution.scheduling.pending_records import PendingRecords
from rayform_runtime.spec import StepSpec
from rayform_runtime.usercode.tracebacks import step_error

__all__ = ["DynamicRun"]


class DynamicRun:
    """The body of one run, and the calls that it makes.

    Args:
        request: the run.
        run: the same run, recorded in the catalog.
        stack: its catalog is written.
        calls: what the body and the loop share.
        body: the thread of the body.
    """

    def __init__(self, request: RunRequest, run: OpenedRun, stack: Stack, calls: Calls, body: Body) -> None:
        self._request = request
        self._run = run
        self._catalog = stack.catalog
        self.calls = calls
        self.body = body
        # The failures that the body had received before the run was resumed. They end in the same way again, so that
        # the body takes the same way.
        keys = {key for call in run.calls for key in call.failures}
        self._failed_before = {key: error for key, error in run.errors_before.items() if key in keys}

    def take_up(
        self, executor: Executor, pending: PendingRecords, cache: CacheLookup, frontier: Frontier
    ) -> None:
        """Record new calls and add them to the graph. A call that can't be placed ends as failed."""
        new = self.calls.take()
        if not new:
            return
        pending.write()  # a call is never recorded before the results that decided about it
        self._catalog.record_calls(
            self._request.run_id,
            [self._signed(step, record) for step, record in new if record is not None],
        )
        spec = self._request.spec
        ids = stored_ids(spec.model_copy(update={"steps": [call.step for call in new]}))
        versions = self._catalog.get_artifact_versions(ids) if ids else {}
        for step, _ in new:
            node = self._run.graph.add(step, versions)
            cache.add(step)
            if step.key in self._failed_before:
                frontier.repeat_failure(node, self._failed_before[step.key])
                continue
            try:
                self._run.records.models[step.key] = self._run.model_of(step)
                executor.check(spec.model_copy(update={"steps": [step]}))
            except RayformError as error:
                frontier.fail(node, step_error(error))
                continue
            frontier.add(node)

    def _signed(self, step: StepSpec, record: RunCall) -> RunCall:
        """Return the record of a call with this machine's signature, so that the call can be run again alone."""
        signature = sign(*step.signed_parts(self._request.run_id))
        return record._replace(step={**record.step, "signature": signature or None})

    def end_of(
        self, errors: Mapping[str, StepError]
    ) -> tuple[RunStatus, dict[str, StepError], StepError | None]:
        """Return how the run ended: its status, the errors of steps that made it fail, and that of the body.

        Args:
            errors: those of all failed steps. One that the body received and didn't raise again is no failure of
                the run.
        """
        raised = getattr(self.body.raised, "step_key", None) if self.calls.refusal is None else None
        failed = {
            key: error for key, error in errors.items() if key not in self.calls.handled or key == raised
        }
        error = None if raised in failed else self.body.error
        status = RunStatus.FAILED if failed or error is not None else RunStatus.COMPLETED
        return status, failed, error
