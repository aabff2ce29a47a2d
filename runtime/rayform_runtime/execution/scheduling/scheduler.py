"""Walks a run's DAG: asks the cache, hands ready steps to the executor, records what happens, follows up.

One loop in one thread. A turn takes all that the executor reports and hands out the steps that this frees; while
they run, it writes what ended and what began in one commit, in their order (ADR 46). What can be refused, a version
name of the person's own for instance, is recorded before anything that depends on it is started, and so is what was
taken from the cache.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rayform_core.errors import ConflictError, NotFoundError, RayformError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import CachedResult, RunStatus, StepError, StepFinish, StepStatus
from rayform_runtime.catalog.interface import CatalogBusyError
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import (
    CacheDecision,
    Executor,
    HookTask,
    LateCodeFacts,
    Listener,
    PipelineFacts,
    RunEvent,
    RunOutcome,
    RunRequest,
    StepFacts,
    StepResult,
    StepTask,
    Task,
)
from rayform_runtime.execution.scheduling.cache_lookup import CacheLookup
from rayform_runtime.execution.scheduling.graph import Instance, Node, VersionRef
from rayform_runtime.execution.scheduling.heartbeat import Heartbeat
from rayform_runtime.execution.scheduling.opening import RunOpening
from rayform_runtime.execution.scheduling.pending_records import Unrecorded
from rayform_runtime.execution.scheduling.records import step_finish
from rayform_runtime.processes.stop_signals import stop_on_signals
from rayform_runtime.spec import SourceRef
from rayform_runtime.usercode.code_ref import CodeRef
from rayform_runtime.usercode.tracebacks import step_error

__all__ = ["Scheduler"]

_LONGEST_WAIT = 0.2
"""Seconds after which the loop looks for a stop request, whatever the executor does."""
_CODE_WAITS = 1.0
"""Seconds after which facts of the code that came late are recorded by themselves; else with the run's end."""
_ENDED_AS = {
    StepStatus.FAILED: "failed",
    StepStatus.SKIPPED: "was skipped",
    StepStatus.STOPPED: "was stopped",
    StepStatus.INTERRUPTED: "was interrupted",
}


class _TakenOverError(ConflictError):
    """Another process runs the run now; this one writes nothing more of it."""


class Scheduler:
    """Runs one pipeline to its end.

    Args:
        request: what to run.
        stack: whose catalog is written.
        executor: runs the steps; `run` closes it.
        listener: gets every event.
        orchestrator_id: what the orchestrator calls the run, for the catalog.
    """

    def __init__(
        self,
        request: RunRequest,
        stack: Stack,
        executor: Executor,
        listener: Listener,
        *,
        orchestrator_id: str | None = None,
    ) -> None:
        self.request = request
        self.spec = request.spec
        self.stack = stack
        self.catalog = stack.catalog
        self.executor = executor
        self.listener = listener
        self.orchestrator_id = orchestrator_id
        self._cache = CacheLookup(request, self.catalog, stack)
        self._stack_json = stack.spec.model_dump_json()
        self._pipeline_facts = PipelineFacts(
            self.spec.name,
            self.spec.parameters,
            self.spec.environment,
            self.spec.import_paths,
            debug=request.debug,
        )
        self._freed: deque[Node] = deque()
        self._ready: list[Instance] = []
        self._at_work: dict[str, Instance] = {}
        self._timers: list[tuple[float, int, Instance]] = []
        self._timer_count = itertools.count()
        self._cached: list[tuple[Instance, CachedResult]] = []
        self._ended_unrun: list[tuple[Instance, StepStatus, StepError | None]] = []
        self._events_of_unrun: list[RunEvent] = []
        self._code_soon: LateCodeFacts | None = None
        self._began = time.monotonic()
        self._unrecorded = Unrecorded(listener)
        self._errors: dict[str, StepError] = {}
        self._decisions: dict[str, CacheDecision] = {}
        self._hooks: set[str] = set()
        self._stop = False

    # -- a run ----------------------------------------------------------------------------------------------
    def run(self) -> RunOutcome:
        """Run to the end and return how it ended; leaves no worker behind.

        Raises:
            UsageError: a step can never be placed; nothing was recorded.
            KeyboardInterrupt: Ctrl-C; the run is recorded as stopped and can be resumed.
            RayformError: the catalog or the machine failed; the run can be resumed.
        """
        try:
            self.executor.check(self.spec)
            opening = RunOpening(self.request, self.stack, orchestrator_id=self.orchestrator_id)
            self.graph = opening.graph()
            opening.record()
            self._code_soon = self.request.code_soon if opening.code_is_late else None
            heartbeat = Heartbeat(self.catalog, self.request.run_id)
            try:
                with stop_on_signals(self._request_stop) as signalled:
                    self.records = opening.records()
                    opening.fill(self.graph, self._cache)
                    heartbeat.start()
                    self._event("run", run_status=RunStatus.RUNNING)
                    status = self._end(self._walk(heartbeat))
            except _TakenOverError:
                raise
            except BaseException as error:
                heartbeat.stop()
                self._give_up(error)
                raise
            finally:
                heartbeat.stop()
        finally:
            self.executor.close(kill=True)
        if signalled():
            raise KeyboardInterrupt
        return RunOutcome(self.request.run_id, status, self._errors, self._decisions)

    def _request_stop(self) -> None:
        self._stop = True

    # -- the loop -------------------------------------------------------------------------------------------
    def _walk(self, heartbeat: Heartbeat) -> RunStatus:
        self._cache.prefetch()
        self._freed.extend(self.graph.roots())
        while True:
            self._start_ready()
            if not self.executor.runs_beside_scheduler:
                self._record()  # the next step takes this thread for as long as it runs
            if self._stop or heartbeat.stop_requested:
                return RunStatus.STOPPED
            if heartbeat.taken_over:
                raise _TakenOverError(
                    f"Run '{self.request.run_name}' was taken over by another process.",
                    hint="See it with `rayform runs describe`.",
                )
            if not self._at_work and not self._timers and not self._hooks:
                self._record()
                return RunStatus.FAILED if self._errors else RunStatus.COMPLETED
            self._take(self.executor.wait(self._patience()))
            self._retry_due()
            self._record_code()
            # What was freed starts first and is recorded together with what freed it.
            is_due = not (self._freed or self._ready) and self._until_recorded() <= 0
            if is_due or self._unrecorded.is_full:
                self._record()

    def _patience(self) -> float:
        """How long the executor may block: until the next retry, or until something must be recorded."""
        patience = _LONGEST_WAIT
        if self._timers:
            patience = min(patience, self._timers[0][0] - time.monotonic())
        if self._unrecorded:
            patience = min(patience, self._until_recorded())
        return max(0.0, patience)

    def _until_recorded(self) -> float:
        """In how many seconds what has happened must be recorded."""
        if self._freed or self._ready:
            return 0.0
        return self._unrecorded.due_in()

    def _start_ready(self) -> None:
        """Start all that can start; what the cache has frees its dependents within the same turn."""
        starting: list[Instance] = []
        while self._freed or self._ready:
            while self._freed:
                node = self._freed.popleft()
                if node.spec.is_mapped and self._unrecorded.due_in() <= 0:
                    self._record()  # opening a wide map takes longer than an end may wait
                self._open(node)
            ready, self._ready = self._ready, []
            starting += self._from_cache(ready)
        self._record_unrun()
        if starting and not self.executor.runs_beside_scheduler:
            self._record()
        for instance in starting:
            self._submit(instance)

    def _record_unrun(self) -> None:
        cached, self._cached = self._cached, []
        ended, self._ended_unrun = self._ended_unrun, []
        events, self._events_of_unrun = self._events_of_unrun, []
        if cached or ended:
            self._record()
        self.records.taken_from_cache(cached)
        self.records.ended_without_running(ended)
        for event in events:
            self._unrecorded.tell(event)

    def _record(self) -> None:
        """Write what has happened, in one commit; then tell it, so that a listener finds it in the catalog."""
        if self._unrecorded:  # where it raises, `_give_up` records what can be
            self._unrecorded.record(self.records.record)

    def _record_code(self) -> None:
        """Record what git said too late for the run's beginning; a short run's end takes it along."""
        if self._code_soon is not None and time.monotonic() - self._began > _CODE_WAITS:
            facts = self._code_soon.poll()
            if facts is not None:
                self._code_soon = None
                self.catalog.set_run_code(self.request.run_id, facts.as_record())

    def _submit(self, instance: Instance) -> None:
        node = instance.node
        spec = node.spec
        instance.tries += 1
        instance.output_ids = {o.name: new_id() for o in spec.outputs}
        instance.is_recorded = False
        self._at_work[str(instance.id)] = instance
        model = self.records.models.get(spec.key)
        self.executor.submit(
            StepTask(
                run_id=str(self.request.run_id),
                run_name=self.request.run_name,
                step_run_id=str(instance.id),
                step=node.facts,
                inputs=instance.task_inputs(),
                output_ids={name: str(output) for name, output in instance.output_ids.items()},
                stack=self._stack_json,
                pipeline=self._pipeline_facts,
                attempt=instance.attempt,
                is_final_attempt=instance.tries > spec.retry.max_retries,
                map_index=instance.map_index,
                model_version_id=str(model) if model else None,
                code_root=self.spec.code_root,
                awaits_record=self.executor.runs_beside_scheduler,
            )
        )

    def _take(self, reports: list[Task | StepResult | RunEvent]) -> None:
        """Follow up what the executor reports; what can't be refused is recorded later, with what it frees."""
        results = []
        for report in reports:
            if isinstance(report, Task):
                instance = self._at_work.get(report.step_run_id)
                if instance is not None and not instance.is_recorded:
                    instance.is_recorded = True
                    log_uri = self.executor.log_uri(report.run_id, report.step_run_id)
                    begun = self.records.start_of(instance, log_uri, at=datetime.now(UTC))
                    self._unrecorded.add(begun)
                    self._step_event(instance, StepStatus.RUNNING)
            elif isinstance(report, StepResult):
                if self._stop and report.lost:
                    continue  # Ctrl-C or whoever asked to stop ended its process too: it is stopped, not failed
                self._hooks.discard(report.step_run_id)
                instance = self._at_work.pop(report.step_run_id, None)
                if instance is not None:
                    if not instance.is_recorded:
                        # It ended before it started: cancelled in the queue, or never placed.
                        instance.is_recorded = True
                        self._unrecorded.add(self.records.start_of(instance))
                    results.append((instance, report))
            else:
                self._unrecorded.tell(report)
        if all(self._is_accepted_for_sure(instance, result) for instance, result in results):
            for instance, result in results:
                finish = self._finish_of(instance, result, result.status)
                self._unrecorded.add(finish, cache_key=instance.cache_key, seconds=_seconds_of(result))
                self._follow_up(instance, result, finish)
        else:
            self._record()
            self._record_results(results)

    def _is_accepted_for_sure(self, instance: Instance, result: StepResult) -> bool:
        """Whether nothing in the catalog can be against a result: no version name of the person's, no model."""
        return (
            result.status is StepStatus.COMPLETED
            and self.records.models.get(instance.node.key) is None
            and all(output.version is None for output in result.outputs)
            and not result.run_metadata
        )

    def _finish_of(self, instance: Instance, result: StepResult, status: StepStatus) -> StepFinish:
        model = self.records.models.get(instance.node.key)
        return step_finish(instance, self.request.run_id, result, status=status, model_version_id=model)

    def _record_results(self, results: list[tuple[Instance, StepResult]]) -> None:
        finishes: list[StepFinish] = []
        for instance, result in results:
            again = self._will_retry(instance, result)
            status = StepStatus.RETRYING if again else result.status
            finishes.append(self._finish_of(instance, result, status))
        refused = self.records.finish(finishes)
        for (instance, result), finish in zip(results, finishes, strict=True):
            self.records.metadata_of(result, instance.node.key)
            if instance.id in refused:
                self._ended(instance, StepStatus.FAILED, refused[instance.id])
            else:
                self._follow_up(instance, result, finish)

    def _follow_up(self, instance: Instance, result: StepResult, finish: StepFinish) -> None:
        if finish.status is StepStatus.RETRYING:
            self._retry_later(instance, result)
            return
        if finish.status is StepStatus.COMPLETED:
            for output in result.outputs:
                name = output.output_name or ""
                length = result.map_lengths.get(name)
                instance.outputs[name] = VersionRef.of(output)._replace(length=length)
        elif result.lost and result.error is not None and instance.node.spec.on_failure:
            # The worker that would have called it is dead.
            self._submit_hook(instance.node.spec.on_failure, _text(result.error))
        self._ended(instance, result.status, result.error, result)

    # -- retries --------------------------------------------------------------------------------------------
    @staticmethod
    def _will_retry(instance: Instance, result: StepResult) -> bool:
        failed = result.status is StepStatus.FAILED and result.retryable
        return failed and instance.tries <= instance.node.spec.retry.max_retries

    def _retry_later(self, instance: Instance, result: StepResult) -> None:
        policy = instance.node.spec.retry
        delay = policy.delay * policy.backoff ** (instance.tries - 1)
        instance.attempt += 1
        instance.status = StepStatus.RETRYING
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._timer_count), instance))
        error = result.error
        why = f"{error.type}: {error.message}" if error is not None else "It failed."
        self._step_event(instance, StepStatus.RETRYING, text=why, seconds=delay)
        self._event(
            "restart",
            step_key=instance.node.key,
            map_index=instance.map_index,
            text=f"Try {instance.attempt} starts in {delay:g} s, because the last one failed with {why}",
        )

    def _retry_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._submit(heapq.heappop(self._timers)[2])

    # -- nodes ----------------------------------------------------------------------------------------------
    def _open(self, node: Node) -> None:
        """Make a step's instances ready, now that nothing holds it back, or say why it can't run."""
        if not self.graph.may_start(node):
            self._end_unrun(node, StepStatus.SKIPPED, None)
            return
        try:
            instances = self.graph.open_node(node)
        except RayformError as error:
            self._end_unrun(node, StepStatus.FAILED, step_error(error))
            return
        for instance in instances:
            if instance.status.is_successful:
                self._decisions.setdefault(
                    node.key, CacheDecision(True, "Finished before the run was resumed.")
                )
                self._step_event(instance, instance.status, text="finished before the run was resumed")
        self._ready += [i for i in instances if not i.status.is_successful]
        if node.open == 0:
            self._close(node)

    def _end_unrun(self, node: Node, status: StepStatus, error: StepError | None) -> None:
        # A mapped step that can't run stands in the catalog as its first element, which a resume takes up.
        index = 0 if node.spec.is_mapped else None
        instance = Instance(
            node, index, self.graph.earlier_id(node.key, index) or new_id(), {}, status=status
        )
        self._ended_unrun.append((instance, status, error))
        text = ""
        if status is StepStatus.SKIPPED:
            text = "needs " + ", ".join(
                f"'{u.key}', which {_ENDED_AS.get(u.status, u.status)}"
                for u in node.upstream
                if not u.status.is_successful
            )
        if error is not None:
            self._errors[node.key] = error
        self._events_of_unrun.append(
            self._make_event(instance, status, map_index=None, text=text or _text(error))
        )
        self._freed.extend(self.graph.close_node(node, status))

    def _ended(
        self,
        instance: Instance,
        status: StepStatus,
        error: StepError | None = None,
        result: StepResult | None = None,
    ) -> None:
        instance.status = status
        node = instance.node
        if error is not None:
            name = node.key if instance.map_index is None else f"{node.key}[{instance.map_index}]"
            self._errors[name] = error
        self._step_event(
            instance,
            status,
            text=_text(error),
            seconds=None if result is None else _seconds_of(result),
            summaries=result.summaries if result is not None else None,
        )
        node.open -= 1
        if node.open == 0:
            self._close(node)

    def _close(self, node: Node) -> None:
        statuses = {i.status for i in node.instances}
        if all(s.is_successful for s in statuses):
            status = StepStatus.CACHED if statuses == {StepStatus.CACHED} else StepStatus.COMPLETED
        else:
            status = StepStatus.FAILED if StepStatus.FAILED in statuses else StepStatus.STOPPED
        if not node.instances:
            self._event("step", step_key=node.key, step_status=status, text="mapped over an empty list")
        for instance in node.instances:
            instance.arguments = {}  # a wide map's inputs are no longer needed
        self._freed.extend(self.graph.close_node(node, status))

    # -- the cache ------------------------------------------------------------------------------------------
    def _from_cache(self, ready: list[Instance]) -> list[Instance]:
        """Take from the cache what it has; return what must be run."""
        self._cache.set_keys(ready)
        if self._unrecorded.holds_any([i.cache_key for i in ready if i.cache_key]):
            self._record()  # the very result that one of these asks for
        found = self._cache.look_up(ready)
        for instance, hit in found.hits:
            instance.outputs = {name: VersionRef.of(v) for name, v in hit.outputs.items()}
            instance.status = StepStatus.CACHED
            self._cached.append((instance, hit))
            decision = found.decisions[instance.id]
            self._decisions.setdefault(instance.node.key, decision)
            self._events_of_unrun.append(self._make_event(instance, StepStatus.CACHED, cache=decision))
            instance.node.open -= 1
            if instance.node.open == 0:
                self._close(instance.node)
        for instance in found.misses:
            known = self._decisions.get(instance.node.key)
            if known is None or known.hit:  # of a mapped step, a miss says more than a hit
                self._decisions[instance.node.key] = found.decisions[instance.id]
        return found.misses

    # -- the end --------------------------------------------------------------------------------------------
    def _end(self, status: RunStatus) -> RunStatus:
        if status is RunStatus.STOPPED:
            self._stop_all()
        else:
            self._call_run_hook(status)
        error = None
        if status is RunStatus.FAILED and self._errors:
            key, first = next(iter(self._errors.items()))
            error = StepError(first.type, f"Step '{key}': {first.message}", first.traceback)
        self.executor.close(kill=status is RunStatus.STOPPED)
        facts = None if self._code_soon is None else self._code_soon.wait().as_record()
        self.catalog.finish_run(self.request.run_id, status, error, code=facts)
        self._event("run", run_status=status)
        return status

    def _stop_all(self) -> None:
        """End what is at work; what is committed already is recorded, so that a resume needn't do it again."""
        self.executor.close(kill=True)
        self._record()
        for instance in self._at_work.values():
            self._step_event(instance, StepStatus.STOPPED)
        finishes = [
            StepFinish(i.id, self.request.run_id, StepStatus.STOPPED)
            for i in self._at_work.values()
            if i.is_recorded
        ]
        self._at_work.clear()
        self.records.finish(finishes)

    # -- hooks that no step's worker can call ----------------------------------------------------------------
    def _submit_hook(self, hook: SourceRef, message: str) -> None:
        """Call a person's hook in a worker; it is in no catalog, and its failure changes nothing."""
        hook_id = str(new_id())
        self._hooks.add(hook_id)
        self.executor.submit(
            HookTask(
                run_id=str(self.request.run_id),
                run_name=self.request.run_name,
                step_run_id=hook_id,
                step=StepFacts(f"{self.spec.name} hook", hook.qualname, CodeRef.of(hook)),
                error=message or None,
                stack=self._stack_json,
                pipeline=self._pipeline_facts,
                code_root=self.spec.code_root,
            )
        )

    def _call_run_hook(self, status: RunStatus) -> None:
        hook = self.spec.on_success if status is RunStatus.COMPLETED else self.spec.on_failure
        if hook is None or self.request.only is not None:
            return
        message = "; ".join(f"Step '{k}': {e.type}: {e.message}" for k, e in self._errors.items())
        self._submit_hook(hook, message)
        while self._hooks and not self._stop:
            self._take(self.executor.wait(_LONGEST_WAIT))

    def _give_up(self, error: BaseException) -> None:
        """The scheduler itself failed: end the workers, and say so in the catalog if it can still be reached."""
        self.executor.close(kill=True)
        why = step_error(error)
        changes = self._unrecorded.take()
        # What the catalog refuses must not take with it what it takes; where it can't be reached, once is enough.
        for some in [[change] for change in changes] if _is_refusal(error) else [changes]:
            try:
                self.records.record(some)
            except Exception as second:  # noqa: BLE001 - told with the first
                _note(error, "One of the last steps couldn't be recorded", second)
                if not _is_refusal(second):
                    break
        with _noted(error, "The run couldn't be marked as interrupted"):
            late = self._code_soon.poll() if self._code_soon is not None else None
            code = late.as_record() if late is not None else None
            self.catalog.finish_run(
                self.request.run_id,
                RunStatus.INTERRUPTED,
                StepError(why.type, why.message),
                code=code,
            )

    # -- events ---------------------------------------------------------------------------------------------
    def _event(self, kind: str, **facts: Any) -> None:
        self._unrecorded.tell(RunEvent(kind, datetime.now(UTC), str(self.request.run_id), **facts))

    def _step_event(self, instance: Instance, status: StepStatus, **facts: Any) -> None:
        self._unrecorded.tell(self._make_event(instance, status, **facts))

    def _make_event(self, instance: Instance, status: StepStatus, **facts: Any) -> RunEvent:
        if facts.get("summaries") is None:
            facts.pop("summaries", None)
        facts.setdefault("map_index", instance.map_index)
        return RunEvent(
            "step",
            datetime.now(UTC),
            str(self.request.run_id),
            step_key=instance.node.key,
            step_status=status,
            **facts,
        )


@contextlib.contextmanager
def _noted(error: BaseException, what: str) -> Iterator[None]:
    """Note on `error`, which is the one to show, what fails after it."""
    try:
        yield
    except Exception as second:  # noqa: BLE001 - told with the first
        _note(error, what, second)


def _note(error: BaseException, what: str, second: Exception) -> None:
    text = f"{what} either: {second}"
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def _is_refusal(error: BaseException) -> bool:
    """Whether the catalog, which can be reached, won't take what it was given."""
    if isinstance(error, CatalogBusyError):
        return False
    return isinstance(error, ConflictError | NotFoundError | UsageError)


def _seconds_of(result: StepResult) -> float | None:
    if result.started_at is None or result.ended_at is None:
        return None
    return (result.ended_at - result.started_at).total_seconds()


def _text(error: StepError | None) -> str:
    return "" if error is None else f"{error.type}: {error.message}"
