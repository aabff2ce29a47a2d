"""Runs one pipeline to its end: opens the run, walks it in a loop, and records it if the scheduler itself fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import Executor, Listener, RunOutcome, RunRequest
from rayform_runtime.execution.scheduling.heartbeat import Heartbeat, RunControl
from rayform_runtime.execution.scheduling.late_code import LateCode
from rayform_runtime.execution.scheduling.loop import RunLoop, TakenOverError
from rayform_runtime.execution.scheduling.opening import OpenedRun, RunOpening
from rayform_runtime.execution.scheduling.pending_records import PendingRecords
from rayform_runtime.execution.scheduling.records import record_failure
from rayform_runtime.processes.stop_signals import stop_on_signals

if TYPE_CHECKING:
    from rayform_runtime.execution.scheduling.dynamic.intake import DynamicRun

__all__ = ["Scheduler"]


class Scheduler:
    """Runs one pipeline to its end.

    Args:
        request: what to run.
        stack: its catalog is written.
        executor: runs the steps; `run` closes it.
        listener: gets every event.
        orchestrator_id: the orchestrator's name for the run, for the catalog.
        code_folder: returns the project's folder on this machine; by default the folder that the run was traced in.
        clock: seconds that only grow; for tests.
    """

    def __init__(
        self,
        request: RunRequest,
        stack: Stack,
        executor: Executor,
        listener: Listener,
        *,
        orchestrator_id: str | None = None,
        code_folder: Callable[[], Path | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if request.spec.is_dynamic:
            # Its steps are the calls that earlier processes made; the body makes them again.
            request = replace(request, spec=request.spec.model_copy(update={"steps": []}))
        self._request = request
        self._stack = stack
        self._executor = executor
        self._listener = listener
        self._orchestrator_id = orchestrator_id
        self._code_folder = code_folder
        self._clock = clock

    def run(self) -> RunOutcome:
        """Run to the end and return how it ended; leaves no worker behind.

        Raises:
            UsageError: a step can never be placed; nothing was recorded.
            KeyboardInterrupt: Ctrl-C; the run is recorded as stopped and can be resumed.
            RayformError: the catalog or the machine failed; the run can be resumed.
        """
        try:
            self._executor.check(self._request.spec)
            opening = RunOpening(
                self._request,
                self._stack,
                orchestrator_id=self._orchestrator_id,
                code_folder=self._code_folder,
            )
            run = opening.open()
            return self._run(run)
        finally:
            self._executor.close(kill=True)

    def _run(self, run: OpenedRun) -> RunOutcome:
        request, catalog, control = self._request, self._stack.catalog, RunControl()
        pending = PendingRecords(self._listener, run.records.record, self._clock)
        late_code = LateCode(catalog, request.run_id, run.late_code, self._clock)
        dynamic = self._dynamic(run)
        loop = RunLoop(
            request,
            run,
            self._stack,
            self._executor,
            pending,
            late_code,
            control=control,
            clock=self._clock,
            dynamic=dynamic,
        )
        try:
            with (
                stop_on_signals(control.request_stop) as is_interrupted,
                Heartbeat(catalog, request.run_id, control),
            ):
                outcome = loop.run()
        except TakenOverError:
            raise
        except BaseException as error:
            self._executor.close(kill=True)
            pending.rescue(error)
            record_failure(catalog, request.run_id, error, RunStatus.INTERRUPTED, late_code.poll())
            raise
        finally:
            if dynamic is not None:
                dynamic.body.stop()
        if is_interrupted():
            raise KeyboardInterrupt
        return outcome

    def _dynamic(self, run: OpenedRun) -> DynamicRun | None:
        request, stack = self._request, self._stack
        if not request.spec.is_dynamic:
            return None
        from rayform_runtime.execution.scheduling.dynamic.body import Body, run_body
        from rayform_runtime.execution.scheduling.dynamic.calls import Calls
        from rayform_runtime.execution.scheduling.dynamic.intake import DynamicRun

        results = run.graph.finished_before | {key for call in run.calls for key in call.failures}
        calls = Calls(request.spec.name, run.calls, results)
        body = Body(lambda: run_body(request, stack, calls, self._code_folder), calls)
        return DynamicRun(request, run, stack, calls, body)
