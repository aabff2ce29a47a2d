"""Walks a run's DAG: hands ready steps to the executor, and records how they start and end.

One loop in one thread. Each turn takes the executor's reports and submits the steps that can now start. While these
run, it writes the starts and ends in order, in one commit (ADR 46). Two kinds of changes are recorded before any step
that depends on them starts: a change that the catalog may refuse, such as a user-defined version name, and a result
from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepError, StepFinish, StepStatus
from rayform_runtime.catalog.exclusive_tags import apply_exclusive_tags
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import Executor, RunEvent, RunOutcome, RunRequest, StepResult, Task
from rayform_runtime.execution.scheduling.cache_lookup import CacheLookup
from rayform_runtime.execution.scheduling.conditions import Conditions
from rayform_runtime.execution.scheduling.events import RunEvents, error_text, seconds_of
from rayform_runtime.execution.scheduling.frontier import Frontier
from rayform_runtime.execution.scheduling.graph import Instance, VersionRef
from rayform_runtime.execution.scheduling.heartbeat import RunControl
from rayform_runtime.execution.scheduling.hooks import Hooks
from rayform_runtime.execution.scheduling.late_code import LateCode
from rayform_runtime.execution.scheduling.opening import OpenedRun
from rayform_runtime.execution.scheduling.pending_records import PendingRecords
from rayform_runtime.execution.scheduling.retries import Retries, will_retry
from rayform_runtime.execution.scheduling.tasks import TaskMaker

if TYPE_CHECKING:
    from rayform_runtime.execution.scheduling.dynamic.intake import DynamicRun

__all__ = ["RunLoop", "TakenOverError"]

_LONGEST_WAIT = 0.2
"""Seconds after which the loop looks for a stop request at the latest."""


class TakenOverError(ConflictError):
    """Another process runs the run now; this one writes nothing more of it."""


class RunLoop:
    """The loop of one run.

    Args:
        request: what to run.
        run: the same run, recorded in the catalog and ready to be walked.
        stack: its catalog is written.
        executor: runs the steps.
        pending: holds starts, ends and events until they are written.
        late_code: records facts about the code that came after the run began.
        control: set if the run must end early.
        clock: seconds that only grow.
        dynamic: the body of a dynamic pipeline, which adds steps while the run goes on.
    """

    def __init__(
        self,
        request: RunRequest,
        run: OpenedRun,
        stack: Stack,
        executor: Executor,
        pending: PendingRecords,
        late_code: LateCode,
        *,
        control: RunControl,
        clock: Callable[[], float],
        dynamic: DynamicRun | None = None,
    ) -> None:
        # What the loop is built from; none is replaced.
        self._request = request
        self._catalog = stack.catalog
        self._executor = executor  # closed at the end of the run
        self._records = run.records  # writes at once what must not wait
        self._pending = pending  # filled by each report, emptied by each commit
        self._late_code = late_code  # empty as soon as the facts are recorded
        self._control = control  # set from outside at any time
        # What the loop makes for itself; none is replaced.
        self._events = RunEvents(request.run_id)
        self._tasks = TaskMaker(request, stack.spec, awaits_record=executor.runs_beside_scheduler)
        self._hooks = Hooks(executor, self._tasks)  # called when a worker dies, and at the end of the run
        self._retries = Retries(clock)  # grow with each failure that is tried again
        # Moves with each end of a step; has the errors and the cache's decisions.
        self._cache = CacheLookup(request, stack, pending, self._records.loaded_code)
        conditions = Conditions(lambda: stack.artifact_store)
        self._frontier = Frontier(run.graph, self._cache, run.records, pending, self._events, conditions)
        self._dynamic = dynamic  # `None` for a pipeline whose steps are all known
        if dynamic is not None:
            self._frontier.on_end = dynamic.calls.end
        # By step run ID; an instance stands here from its submission to its result.
        self._running: dict[str, Instance] = {}

    def run(self) -> RunOutcome:
        """Walk the run to its end, record it, and return how it ended.

        Raises:
            TakenOverError: another process runs the run now.
            RayformError: the catalog or the machine failed.
        """
        run_id, errors = self._request.run_id, self._frontier.errors
        self._pending.tell(self._events.of_run(RunStatus.RUNNING))
        if self._dynamic is not None:
            self._dynamic.body.start()
        status = self._walk()
        error = None
        if self._dynamic is not None and status is not RunStatus.STOPPED:
            status, errors, error = self._dynamic.end_of(errors)
        body_error = error
        if status is RunStatus.STOPPED:
            self._stop_running()
        else:
            self._call_run_hook(status, errors, body_error)
        if status is RunStatus.FAILED and errors and error is None:
            key, first = next(iter(errors.items()))
            error = StepError(first.type, f"Step '{key}': {first.message}", first.traceback)
        self._executor.close(kill=status is RunStatus.STOPPED)
        apply_exclusive_tags(self._catalog, self._request.spec, run_id)
        self._catalog.finish_run(run_id, status, error, code=self._late_code.wait())
        self._pending.tell(self._events.of_run(status))
        return RunOutcome(run_id, status, errors, self._frontier.decisions, body_error)

    def _walk(self) -> RunStatus:
        while True:
            if self._dynamic is not None:
                self._dynamic.take_up(self._executor, self._pending, self._cache, self._frontier)
            self._start_ready()
            if not self._executor.runs_beside_scheduler:
                self._pending.write()  # the next step takes this thread for as long as it runs
            if self._control.stop_requested:
                return RunStatus.STOPPED
            if self._control.taken_over:
                raise TakenOverError(
                    f"Run '{self._request.run_name}' was taken over by another process.",
                    hint="See it with `rayform runs describe`.",
                )
            is_idle = not self._running and not self._retries and not self._hooks
            if is_idle and (self._dynamic is None or self._dynamic.calls.are_over):
                self._pending.write()
                return RunStatus.FAILED if self._frontier.errors else RunStatus.COMPLETED
            if is_idle and self._dynamic is not None:
                self._dynamic.calls.wait_for_body(self._patience())
            else:
                self._take(self._executor.wait(self._patience()))
            for instance in self._retries.take_due():
                self._submit(instance)
            self._late_code.record_if_due()
            # A freed step starts first and is recorded together with what freed it.
            is_due = not self._frontier.has_freed and self._pending.due_in() <= 0
            if is_due or self._pending.is_full:
                self._pending.write()

    def _patience(self) -> float:
        """Return how long the executor may block: until the next retry, or until something must be written."""
        patience = _LONGEST_WAIT
        next_retry = self._retries.due_in()
        if next_retry is not None:
            patience = min(patience, next_retry)
        if self._pending:
            patience = min(patience, self._pending.due_in())
        if self._dynamic is not None and self._running:
            patience = min(patience, self._dynamic.calls.patience())
        return max(0.0, patience)

    # -- starts -----------------------------------------------------------------------------------------------
    def _start_ready(self) -> None:
        startable = self._frontier.take_startable()
        if startable and not self._executor.runs_beside_scheduler:
            self._pending.write()
        for instance in startable:
            self._submit(instance)

    def _submit(self, instance: Instance) -> None:
        instance.tries += 1
        instance.output_ids = {output.name: new_id() for output in instance.node.spec.outputs}
        instance.is_recorded = False
        self._running[str(instance.id)] = instance
        model = self._records.models.get(instance.node.key)
        self._executor.submit(self._tasks.of_step(instance, model))

    # -- reports ----------------------------------------------------------------------------------------------
    def _take(self, reports: Sequence[Task | StepResult | RunEvent]) -> None:
        """Process the executor's reports. Results that the catalog can't refuse wait for the next commit."""
        results: list[tuple[Instance, StepResult]] = []
        for report in reports:
            if isinstance(report, Task):
                self._note_start(report)
            elif isinstance(report, StepResult):
                instance = self._ended_instance(report)
                if instance is not None:
                    results.append((instance, report))
            else:
                self._pending.tell(report)
        if all(self._is_accepted_for_sure(instance, result) for instance, result in results):
            for instance, result in results:
                finish = self._records.finish_of(instance, result, result.status)
                self._pending.add(finish, cache_key=instance.cache_key, seconds=seconds_of(result))
                self._complete(instance, result)
        else:
            self._pending.write()
            self._record_results(results)

    def _note_start(self, task: Task) -> None:
        instance = self._running.get(task.step_run_id)
        if instance is not None and not instance.is_recorded:
            instance.is_recorded = True
            log_uri = self._executor.log_uri(task.run_id, task.step_run_id)
            self._pending.add(self._records.start_of(instance, log_uri, at=datetime.now(UTC)))
            self._pending.tell(self._events.of_step(instance, StepStatus.RUNNING))

    def _ended_instance(self, result: StepResult) -> Instance | None:
        """Return the instance that a result ends; `None` for a hook, and for what the stop of the run ended."""
        if self._control.stop_requested and result.lost:
            return None  # the request to stop ended its process too: it is stopped, not failed
        self._hooks.end(result.step_run_id)
        instance = self._running.pop(result.step_run_id, None)
        if instance is not None and not instance.is_recorded:
            # It ended without starting: it was cancelled in the queue, or never placed.
            instance.is_recorded = True
            self._pending.add(self._records.start_of(instance))
        return instance

    def _is_accepted_for_sure(self, instance: Instance, result: StepResult) -> bool:
        """Whether the catalog can't refuse a result: it has no user-defined version name and no model."""
        return (
            result.status is StepStatus.COMPLETED
            and self._records.models.get(instance.node.key) is None
            and all(output.version is None for output in result.outputs)
            and not result.run_metadata
        )

    def _record_results(self, results: Sequence[tuple[Instance, StepResult]]) -> None:
        """Record results at once, and follow up on those that the catalog accepts and those that it refuses."""
        finishes = [
            self._records.finish_of(
                instance, result, StepStatus.RETRYING if will_retry(instance, result) else result.status
            )
            for instance, result in results
        ]
        refusals = self._records.finish(finishes)
        for (instance, result), finish in zip(results, finishes, strict=True):
            self._records.metadata_of(result, instance.node.key)
            if instance.id in refusals:
                self._frontier.end(instance, StepStatus.FAILED, refusals[instance.id])
            elif finish.status is StepStatus.RETRYING:
                self._retry_later(instance, result)
            elif finish.status is StepStatus.COMPLETED:
                self._complete(instance, result)
            else:
                spec = instance.node.spec
                if result.lost and result.error is not None:
                    # The worker that would have called them is dead.
                    for hook in filter(None, (spec.on_failure, spec.on_end)):
                        model = self._records.models.get(spec.key)
                        self._hooks.call(hook, error_text(result.error), instance, model)
                self._frontier.end(instance, result.status, result.error, result)

    def _complete(self, instance: Instance, result: StepResult) -> None:
        for output in result.outputs:
            name = output.output_name or ""
            length = result.map_lengths.get(name)
            instance.outputs[name] = VersionRef.of(output)._replace(length=length)
        self._frontier.end(instance, result.status, result.error, result)

    def _retry_later(self, instance: Instance, result: StepResult) -> None:
        delay = self._retries.add(instance)
        instance.attempt += 1
        instance.status = StepStatus.RETRYING
        why = error_text(result.error) or "It failed."
        self._pending.tell(self._events.of_step(instance, StepStatus.RETRYING, text=why, seconds=delay))
        text = f"Try {instance.attempt} starts in {delay:g} s, because the last one failed with {why}"
        self._pending.tell(self._events.of_restart(instance, text))

    # -- the end ----------------------------------------------------------------------------------------------
    def _stop_running(self) -> None:
        """End what is running. Record what has completed, so that a resume doesn't run it again."""
        self._executor.close(kill=True)
        self._pending.write()
        for instance in self._running.values():
            self._pending.tell(self._events.of_step(instance, StepStatus.STOPPED))
        finishes = [
            StepFinish(instance.id, self._request.run_id, StepStatus.STOPPED)
            for instance in self._running.values()
            if instance.is_recorded
        ]
        self._running.clear()
        self._records.finish(finishes)

    def _call_run_hook(
        self, status: RunStatus, errors: Mapping[str, StepError], body_error: StepError | None
    ) -> None:
        """Call the hook of a run of an earlier version, if it has one for this status, and wait for its end."""
        spec = self._request.spec
        hook = spec.on_success if status is RunStatus.COMPLETED else spec.on_failure
        if hook is None or self._request.only is not None:
            return
        texts = [f"Step '{key}': {error_text(error)}" for key, error in errors.items()]
        message = "; ".join(texts + ([error_text(body_error)] if body_error is not None else []))
        self._hooks.call(hook, message or None)
        while self._hooks and not self._control.stop_requested:
            self._take(self._executor.wait(_LONGEST_WAIT))
