"""Walks a run's DAG: asks the cache, hands ready steps to the executor, records what happens, follows up.

One loop in one thread. A turn takes all that the executor reports, writes it in as few commits as its order
allows (starts, then ends), and only then lets dependents start. A step run that was taken from the cache is
recorded before anything that depends on it is started, and together with others of its turn.
"""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, RayformError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.interface import (
    CachedResult,
    NewRun,
    Query,
    RunStatus,
    StepError,
    StepFinish,
    StepStatus,
)
from rayform_runtime.components import Stack
from rayform_runtime.execution.cache_keys import StaticParts, cache_key, explain_miss, static_parts
from rayform_runtime.execution.heartbeat import Heartbeat
from rayform_runtime.execution.interface import (
    CacheDecision,
    Executor,
    Listener,
    RunEvent,
    RunOutcome,
    RunRequest,
    StepResult,
    StepTask,
)
from rayform_runtime.execution.liveness import process_started, this_host
from rayform_runtime.execution.person_traceback import step_error
from rayform_runtime.execution.run_graph import Instance, Node, RunGraph, VersionRef, stored_ids
from rayform_runtime.execution.run_models import RunModels
from rayform_runtime.execution.run_records import RunRecords, step_finish
from rayform_runtime.spec import SourceRef, StepSpec

__all__ = ["Scheduler"]

_LONGEST_WAIT = 0.2
"""Seconds after which the loop looks for a stop request, whatever the executor does."""

_PREFETCH_FROM = 4
"""Pipelines with at least this many steps ask the cache for the last run's keys all at once."""


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
        self._static: dict[str, StaticParts] = {s.key: static_parts(self.spec, s) for s in self.spec.steps}
        self._stack_json = stack.spec.model_dump(mode="json")
        self._pipeline_json: dict[str, Any] = {
            "name": self.spec.name,
            "parameters": self.spec.parameters,
            "environment": self.spec.environment,
            "import_paths": self.spec.import_paths,
            "debug": request.debug,
        }
        self._freed: deque[Node] = deque()
        self._ready: list[Instance] = []
        self._at_work: dict[str, Instance] = {}
        self._timers: list[tuple[float, int, Instance]] = []
        self._timer_count = itertools.count()
        self._cached: list[tuple[Instance, CachedResult]] = []
        self._ended_unrun: list[tuple[Instance, StepStatus, StepError | None]] = []
        self._events_of_unrun: list[RunEvent] = []
        self._prefetched: dict[str, CachedResult] = {}
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
            self._begin()
            status = RunStatus.FAILED
            heartbeat = Heartbeat(self.catalog, self.request.run_id)
            heartbeat.start()
            try:
                with _stop_on_signals(self._request_stop) as signalled:
                    self._event("run", run_status=RunStatus.RUNNING)
                    status = self._walk(heartbeat)
            except BaseException as error:
                heartbeat.stop()
                self._give_up(error)
                raise
            heartbeat.stop()
            if heartbeat.taken_over:
                self.executor.close(kill=True)
                raise ConflictError(
                    f"Run '{self.request.run_name}' was taken over by another process.",
                    hint="See it with `rayform runs describe`.",
                )
            status = self._end(status)
        finally:
            self.executor.close(kill=True)
        if signalled():
            raise KeyboardInterrupt
        return RunOutcome(self.request.run_id, status, self._errors, self._decisions)

    def _request_stop(self) -> None:
        self._stop = True

    def _begin(self) -> None:
        """Record the run, or take it over, and lay out its steps."""
        request = self.request
        versions = self.catalog.get_artifact_versions(stored_ids(self.spec))
        self.graph = RunGraph(self.spec, versions, request.only)
        models = RunModels(self.catalog)
        pid = os.getpid()
        host, started = this_host(), process_started(pid) or time.time()
        if request.resume:
            run = self.catalog.restart_run(
                request.run_id, host=host, pid=pid, pid_started=started, orchestrator_id=self.orchestrator_id
            )
            model = models.of_pipeline(self.spec, run_id=request.run_id, known=run.model_version_id)
            self._take_up()
        else:
            model = models.of_pipeline(self.spec, run_id=request.run_id)
            self.catalog.create_run(
                NewRun(
                    id=request.run_id,
                    name=request.run_name,
                    pipeline=self.spec.name,
                    spec=self.spec.model_dump(mode="json"),
                    stack_name=self.stack.name,
                    stack=self._stack_json,
                    parameters=self.spec.parameters,
                    tags=self.spec.tags,
                    user=request.user,
                    host=host,
                    pid=pid,
                    pid_started=started,
                    code=request.code,
                    environment=request.environment,
                    model_version_id=model,
                    orchestrator_id=self.orchestrator_id,
                )
            )
        try:
            by_step = models.of_steps(self.spec, model, run_id=request.run_id, resumed=request.resume)
            if self.spec.model or any(s.model for s in self.spec.steps):
                models.link(request.run_id)
            self.records = RunRecords(self.catalog, request.run_id, by_step)
            if request.only is not None:
                self._give_inputs()
        except BaseException as error:
            self._give_up(error)
            raise

    def _take_up(self) -> None:
        """Keep what an earlier process of this run finished."""
        step_runs = self.catalog.list_step_runs(self.request.run_id)
        done = [s for s in step_runs if s.status.is_successful]
        outputs = self._outputs_of({v for s in done for versions in s.outputs.values() for v in versions})
        missing = self._missing_data([ref.uri for ref in outputs.values()])
        for step_run in step_runs:
            refs = {
                name: outputs[ids[0]]
                for name, ids in step_run.outputs.items()
                if ids and ids[0] in outputs and outputs[ids[0]].uri not in missing
            }
            if step_run.status.is_successful:
                self.graph.finished_before(
                    step_run.key, step_run.map_index, step_run.id, step_run.status, refs
                )
            else:
                self.graph.remember(step_run.key, step_run.map_index, step_run.id, step_run.attempt)

    def _give_inputs(self) -> None:
        """Take the outputs of steps that aren't run from the run `inputs_from`."""
        source = self.request.inputs_from
        wanted = {
            u.key for n in self.graph.nodes.values() if not n.is_given for u in n.upstream if u.is_given
        }
        if not wanted:
            return
        if source is None:
            raise UsageError(
                f"Step '{sorted(wanted)[0]}' isn't run, and there is no run to take its outputs from.",
                hint="Name an earlier run.",
            )
        step_runs = [
            s for s in self.catalog.list_step_runs(source) if s.key in wanted and s.status.is_successful
        ]
        outputs = self._outputs_of(
            {v for s in step_runs for versions in s.outputs.values() for v in versions}
        )
        given: dict[str, dict[int | None, dict[str, VersionRef]]] = {}
        for step_run in step_runs:
            refs = {n: outputs[ids[0]] for n, ids in step_run.outputs.items() if ids and ids[0] in outputs}
            given.setdefault(step_run.key, {})[step_run.map_index] = refs
        for key in sorted(wanted):
            if key not in given and not self.graph.nodes[key].spec.is_mapped:
                raise NotFoundError(
                    f"finished step in run {source}",
                    key,
                    known=[s.key for s in step_runs],
                    hint="Take the inputs from a run in which it succeeded.",
                )
            self.graph.give(key, given.get(key, {}))

    def _outputs_of(self, ids: set[UUID]) -> dict[UUID, VersionRef]:
        found = self.catalog.get_artifact_versions(sorted(ids))
        return {v.id: VersionRef.of(v) for v in found.values()}

    # -- the loop -------------------------------------------------------------------------------------------
    def _walk(self, heartbeat: Heartbeat) -> RunStatus:
        if not self.request.no_cache and len(self.spec.steps) >= _PREFETCH_FROM and not self.request.resume:
            self._prefetch()
        self._freed.extend(self.graph.roots())
        while True:
            self._start_ready()
            if self._stop or heartbeat.stop_requested:
                return RunStatus.STOPPED
            if heartbeat.taken_over:
                return RunStatus.INTERRUPTED
            if not self._at_work and not self._timers and not self._hooks:
                return RunStatus.FAILED if self._errors else RunStatus.COMPLETED
            self._take(self.executor.wait(self._until_next_timer()))
            self._retry_due()

    def _until_next_timer(self) -> float:
        if not self._timers:
            return _LONGEST_WAIT
        return max(0.0, min(_LONGEST_WAIT, self._timers[0][0] - time.monotonic()))

    def _start_ready(self) -> None:
        """Start all that can start; what the cache has frees its dependents within the same turn."""
        starting: list[Instance] = []
        while self._freed or self._ready:
            while self._freed:
                self._open(self._freed.popleft())
            ready, self._ready = self._ready, []
            starting += self._from_cache(ready)
        self._record_unrun()
        for instance in starting:
            self._submit(instance)

    def _record_unrun(self) -> None:
        cached, self._cached = self._cached, []
        ended, self._ended_unrun = self._ended_unrun, []
        events, self._events_of_unrun = self._events_of_unrun, []
        self.records.taken_from_cache(cached)
        self.records.ended_without_running(ended)
        for event in events:
            self.listener(event)

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
                step=node.step_json,
                inputs=instance.task_inputs(),
                output_ids={name: str(output) for name, output in instance.output_ids.items()},
                stack=self._stack_json,
                pipeline=self._pipeline_json,
                attempt=instance.attempt,
                is_final_attempt=instance.tries > spec.retry.max_retries,
                map_index=instance.map_index,
                model_version_id=str(model) if model else None,
                code_root=self.spec.code_root,
            )
        )

    def _take(self, reports: list[StepTask | StepResult | RunEvent]) -> None:
        """Record and follow up what the executor reports."""
        starts, results, events = [], [], []
        for report in reports:
            if isinstance(report, StepTask):
                instance = self._at_work.get(report.step_run_id)
                if instance is not None and not instance.is_recorded:
                    instance.is_recorded = True
                    starts.append(
                        self.records.start_of(
                            instance, self.executor.log_uri(report.run_id, report.step_run_id)
                        )
                    )
                    events.append(self._make_event(instance, StepStatus.RUNNING))
            elif isinstance(report, StepResult):
                self._hooks.discard(report.step_run_id)
                instance = self._at_work.pop(report.step_run_id, None)
                if instance is not None:
                    if not instance.is_recorded:
                        # It ended before it started: cancelled in the queue, or never placed.
                        instance.is_recorded = True
                        starts.append(self.records.start_of(instance))
                    results.append((instance, report))
            else:
                events.append(report)
        self.records.start(starts)
        for event in events:  # a listener that hears of a step finds it in the catalog
            self.listener(event)
        if results:
            self._record_results(results)

    def _record_results(self, results: list[tuple[Instance, StepResult]]) -> None:
        finishes: list[StepFinish] = []
        for instance, result in results:
            again = self._will_retry(instance, result)
            status = StepStatus.RETRYING if again else result.status
            finishes.append(
                step_finish(
                    instance,
                    self.request.run_id,
                    result,
                    status=status,
                    model_version_id=self.records.models.get(instance.node.key),
                )
            )
        refused = self.records.finish(finishes)
        for (instance, result), finish in zip(results, finishes, strict=True):
            self.records.metadata_of(result, instance.node.key)
            if instance.id in refused:
                self._ended(instance, StepStatus.FAILED, refused[instance.id])
            elif finish.status is StepStatus.RETRYING:
                self._retry_later(instance, result)
            else:
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
            text = "waits for " + ", ".join(
                f"'{u.key}', which is {u.status}" for u in node.upstream if not u.status.is_successful
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
        seconds = None
        if result is not None and result.started_at and result.ended_at:
            seconds = (result.ended_at - result.started_at).total_seconds()
        self._step_event(
            instance,
            status,
            text=_text(error),
            seconds=seconds,
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
    def _prefetch(self) -> None:
        """Look up the keys of the pipeline's last run at once: a run of unchanged code then asks no more."""
        if not any(s.why_not is None for s in self._static.values()):
            return
        runs = self.catalog.list_runs(Query({"pipeline": self.spec.name}, size=2)).items
        last = next((run for run in runs if run.id != self.request.run_id), None)
        if last is not None:
            keys = [s.cache_key for s in self.catalog.list_step_runs(last.id) if s.cache_key]
            self._prefetched = self.catalog.find_cached(keys)

    def _from_cache(self, ready: list[Instance]) -> list[Instance]:
        """Take from the cache what it has; return what must be run."""
        asked: list[Instance] = []
        for instance in ready:
            static = self._static[instance.node.key]
            if static.why_not is not None:
                self._decide(instance, CacheDecision(False, static.why_not))
                continue
            instance.cache_key = cache_key(static, instance.node.parameters, instance.key_inputs())
            if self.request.no_cache or self.request.only is not None:
                self._decide(
                    instance, CacheDecision(False, "This run doesn't use the cache.", instance.cache_key)
                )
            else:
                asked.append(instance)
        unknown = [i.cache_key for i in asked if i.cache_key and i.cache_key not in self._prefetched]
        found = {**self._prefetched, **self.catalog.find_cached(unknown)} if unknown else self._prefetched
        hits = [(i, found[i.cache_key]) for i in asked if i.cache_key in found]
        missing = self._missing_data([v.uri for _, hit in hits for v in hit.outputs.values()])
        taken: set[UUID] = set()
        for instance, hit in hits:
            if not self._is_whole(instance.node.spec, hit, missing):
                continue
            taken.add(instance.id)
            instance.outputs = {name: VersionRef.of(v) for name, v in hit.outputs.items()}
            self._cached.append((instance, hit))
            decision = CacheDecision(
                True, f"Taken from run '{hit.run_name}'.", instance.cache_key, from_run=hit.run_name
            )
            self._decisions.setdefault(instance.node.key, decision)
            instance.status = StepStatus.CACHED
            self._events_of_unrun.append(self._make_event(instance, StepStatus.CACHED, cache=decision))
        for instance in asked:
            if instance.id in taken:
                instance.node.open -= 1
                if instance.node.open == 0:
                    self._close(instance.node)
            else:
                gone = instance.cache_key in found
                self._decide(instance, self._why_missed(instance, gone=gone))
        return [i for i in ready if i.id not in taken]

    def _is_whole(self, spec: StepSpec, hit: CachedResult, missing: set[str]) -> bool:
        if set(hit.outputs) < {o.name for o in spec.outputs}:
            return False
        return not any(v.uri in missing for v in hit.outputs.values())

    def _missing_data(self, uris: list[str]) -> set[str]:
        """Return those of the artifacts whose data is gone from the store."""
        if not uris:
            return set()
        store = self.stack.artifact_store
        unique = list(dict.fromkeys(uris))
        if store.uri.startswith("file:") or len(unique) == 1:
            return {uri for uri in unique if not store.exists(uri)}
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(16, len(unique))) as pool:
            return {u for u, there in zip(unique, pool.map(store.exists, unique), strict=True) if not there}

    def _why_missed(self, instance: Instance, *, gone: bool) -> CacheDecision:
        key = instance.cache_key or ""
        if gone:
            return CacheDecision(False, "Its earlier result is no longer in the artifact store.", key)
        if not self.request.explain_cache:
            return CacheDecision(False, "There is no earlier result with the same key.", key)
        candidates = self.catalog.find_cache_candidates(self.spec.name, instance.node.key)
        same = [c for c in candidates if c.map_index == instance.map_index] or candidates
        ids = {v for c in same for given in c.inputs.values() for v in given}
        versions = self.catalog.get_artifact_versions(sorted(ids))
        return explain_miss(key, instance.node.parameters, instance.key_inputs(), same, versions)

    def _decide(self, instance: Instance, decision: CacheDecision) -> None:
        known = self._decisions.get(instance.node.key)
        if known is None or known.hit:  # of a mapped step, a miss says more than a hit
            self._decisions[instance.node.key] = decision

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
        self.catalog.finish_run(self.request.run_id, status, error)
        self._event("run", run_status=status)
        return status

    def _stop_all(self) -> None:
        """End what is at work; what is committed already is recorded, so that a resume needn't do it again."""
        self.executor.close(kill=True)
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
        step = StepSpec(key=f"{self.spec.name} hook", name=hook.qualname, source=hook)
        hook_id = str(new_id())
        self._hooks.add(hook_id)
        self.executor.submit(
            StepTask(
                run_id=str(self.request.run_id),
                run_name=self.request.run_name,
                step_run_id=hook_id,
                step=step.model_dump(mode="json", exclude_defaults=True, exclude={"inputs", "after"}),
                inputs={},
                output_ids={},
                stack=self._stack_json,
                pipeline={**self._pipeline_json, "run_hook": True, "run_error": message},
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
        try:
            self.catalog.finish_run(
                self.request.run_id, RunStatus.INTERRUPTED, StepError(why.type, why.message)
            )
        except Exception as second:  # noqa: BLE001 - the first error is the one to show
            error.add_note(f"The run couldn't be marked as interrupted either: {second}")

    # -- events ---------------------------------------------------------------------------------------------
    def _event(self, kind: str, **facts: Any) -> None:
        self.listener(RunEvent(kind, datetime.now(UTC), str(self.request.run_id), **facts))

    def _step_event(self, instance: Instance, status: StepStatus, **facts: Any) -> None:
        self.listener(self._make_event(instance, status, **facts))

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


def _text(error: StepError | None) -> str:
    return "" if error is None else f"{error.type}: {error.message}"


@contextmanager
def _stop_on_signals(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (and SIGTERM) into a stop request, and the second into an interrupt at once.

    Only the main thread can take signals; elsewhere this changes nothing. The value says whether Ctrl-C came.
    """
    interrupted = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def on_interrupt(_signum: int, _frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        stop()

    def on_terminate(_signum: int, _frame: object) -> None:
        stop()

    old_interrupt = signal.getsignal(signal.SIGINT)
    old_terminate = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, on_interrupt)
    if old_terminate is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, old_interrupt)
        if old_terminate is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, old_terminate)
