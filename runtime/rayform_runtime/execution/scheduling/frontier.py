"""The steps that can start now: each runs, or takes its result from the cache, or is skipped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rayform_core.errors import RayformError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import StepError, StepStatus
from rayform_runtime.catalog.reuse import CachedResult
from rayform_runtime.execution.interface import CacheDecision, RunEvent, StepResult
from rayform_runtime.execution.scheduling.cache_lookup import CacheLookup
from rayform_runtime.execution.scheduling.conditions import Conditions, UnmetCondition
from rayform_runtime.execution.scheduling.events import RunEvents, error_text, seconds_of
from rayform_runtime.execution.scheduling.graph import Instance, Node, RunGraph, VersionRef
from rayform_runtime.execution.scheduling.pending_records import PendingRecords
from rayform_runtime.execution.scheduling.records import RunRecords, UnrunEnd
from rayform_runtime.usercode.tracebacks import step_error

__all__ = ["Frontier"]

_ENDED_AS = {
    StepStatus.FAILED: "failed",
    StepStatus.SKIPPED: "was skipped",
    StepStatus.STOPPED: "was stopped",
    StepStatus.INTERRUPTED: "was interrupted",
}


class Frontier:
    """The line between the steps that have ended and those that wait.

    A step starts out as a node that waits for others. It is freed when the last of them ends, opened by
    `take_startable`, and closed when its last instance ends, which frees others.

    Args:
        graph: the run's steps.
        cache: has the results of earlier runs.
        records: writes the steps that end without running.
        pending: holds the events until the changes before them are written.
        events: makes the events.
        conditions: says which steps are skipped by the value of an output.
    """

    def __init__(
        self,
        graph: RunGraph,
        cache: CacheLookup,
        records: RunRecords,
        pending: PendingRecords,
        events: RunEvents,
        conditions: Conditions,
    ) -> None:
        # What the frontier is built from; none is replaced.
        self._graph = graph
        self._cache = cache
        self._records = records
        self._pending = pending  # filled by each end, emptied by each commit
        self._events = events
        self._conditions = conditions
        # Called with each step as a whole that has ended, its error, and why it was skipped; set before the first.
        self.on_end: Callable[[Node, StepError | None, str], None] = lambda node, error, reason: None
        self._freed = deque(graph.roots())  # grows when a node closes; empty after `take_startable`
        # Instances that ended without running and are not recorded yet, and their events; emptied by `_record_unrun`.
        self._cached: list[tuple[Instance, CachedResult]] = []
        self._unrun: list[UnrunEnd] = []
        self._unrun_events: list[RunEvent] = []
        # The error of each failed instance, by `key` or `key[index]`, in the order in which they came.
        self.errors: dict[str, StepError] = {}
        # By step key: whether the step came from the cache, and why; set when the step is opened.
        self.decisions: dict[str, CacheDecision] = {}

    @property
    def has_freed(self) -> bool:
        """Whether steps are free that `take_startable` has not opened yet."""
        return bool(self._freed)

    def add(self, node: Node) -> None:
        """Add a step that was added to the graph: it is free if it waits for nothing."""
        if node.waiting_for == 0:
            self._freed.append(node)

    def fail(self, node: Node, error: StepError) -> None:
        """End a step that can't be run."""
        self._end_unrun(node, StepStatus.FAILED, error)
        self._record_unrun()

    def repeat_failure(self, node: Node, error: StepError) -> None:
        """End a step as it ended in an earlier process of this run, which recorded it."""
        self.errors[node.key] = error
        self._pending.tell(self._events.of_node(node, StepStatus.FAILED, "failed before the run was resumed"))
        self._freed.extend(self._graph.close_node(node, StepStatus.FAILED))
        self.on_end(node, error, "")

    def take_startable(self) -> list[Instance]:
        """Return all instances that must run now. A result from the cache frees its dependents within this call."""
        startable: list[Instance] = []
        while self._freed:
            ready: list[Instance] = []
            while self._freed:
                node = self._freed.popleft()
                if node.spec.is_mapped and self._pending.due_in() <= 0:
                    self._pending.write()  # opening a wide map takes longer than an end may wait
                ready += self._open(node)
            startable += self._take_from_cache(ready)
        self._record_unrun()
        return startable

    def end(
        self,
        instance: Instance,
        status: StepStatus,
        error: StepError | None = None,
        result: StepResult | None = None,
    ) -> None:
        """Record how an instance that ran has ended; `result` is the answer of its worker."""
        instance.status = status
        node = instance.node
        if error is not None:
            name = node.key if instance.map_index is None else f"{node.key}[{instance.map_index}]"
            self.errors[name] = error
        self._pending.tell(
            self._events.of_step(
                instance,
                status,
                text=error_text(error),
                seconds=seconds_of(result) if result is not None else None,
                summaries=result.summaries if result is not None else None,
            )
        )
        self._count_end(node)

    # -- opening and closing nodes ----------------------------------------------------------------------------
    def _open(self, node: Node) -> list[Instance]:
        """Make a step's instances and return those that could run, or record why the step can't run."""
        if not self._graph.may_start(node):
            self._end_unrun(node, StepStatus.SKIPPED, None)
            return []
        try:
            unmet = self._conditions.unmet(node, self._graph) if node.spec.conditions else None
            if unmet is not None:
                self._end_unrun(node, StepStatus.SKIPPED, None, unmet)
                return []
            instances = self._graph.open_node(node)
        except RayformError as error:
            self._end_unrun(node, StepStatus.FAILED, step_error(error))
            return []
        for instance in instances:
            if instance.status.is_successful:
                decision = CacheDecision(True, "Finished before the run was resumed.")
                self.decisions.setdefault(node.key, decision)
                text = "finished before the run was resumed"
                self._pending.tell(self._events.of_step(instance, instance.status, text=text))
        if node.open == 0:
            self._close(node)
        return [instance for instance in instances if not instance.status.is_successful]

    def _end_unrun(
        self, node: Node, status: StepStatus, error: StepError | None, unmet: UnmetCondition | None = None
    ) -> None:
        # A mapped step that can't run is recorded as its first element, which a resume takes up.
        index = 0 if node.spec.is_mapped else None
        step_run_id = self._graph.earlier_id(node.key, index) or new_id()
        instance = Instance(node, index, step_run_id, {}, status=status)
        self._unrun.append(
            UnrunEnd(instance, status, error, unmet.as_metadata() if unmet is not None else {})
        )
        text = error_text(error)
        if unmet is not None:
            text = unmet.text
        elif status is StepStatus.SKIPPED:
            text = "needs " + ", ".join(
                f"'{upstream.key}', which {_ENDED_AS.get(upstream.status, upstream.status)}"
                for upstream in node.upstream
                if not upstream.status.is_successful
            )
        if error is not None:
            self.errors[node.key] = error
        self._unrun_events.append(self._events.of_node(node, status, text))
        self._freed.extend(self._graph.close_node(node, status))
        self.on_end(node, error, text)

    def _count_end(self, node: Node) -> None:
        node.open -= 1
        if node.open == 0:
            self._close(node)

    def _close(self, node: Node) -> None:
        statuses = {instance.status for instance in node.instances}
        if all(status.is_successful for status in statuses):
            status = StepStatus.CACHED if statuses == {StepStatus.CACHED} else StepStatus.COMPLETED
        else:
            status = StepStatus.FAILED if StepStatus.FAILED in statuses else StepStatus.STOPPED
        if not node.instances:
            self._pending.tell(self._events.of_node(node, status, "mapped over an empty list"))
        for instance in node.instances:
            instance.arguments = {}  # a wide map's inputs are no longer needed
        self._freed.extend(self._graph.close_node(node, status))
        self.on_end(node, self.errors.get(node.key), "")

    # -- ends without running ---------------------------------------------------------------------------------
    def _take_from_cache(self, ready: list[Instance]) -> list[Instance]:
        """End the instances whose results the cache has; return the others."""
        answer = self._cache.look_up(ready)
        for instance, hit in answer.hits:
            instance.outputs = {name: VersionRef.of(version) for name, version in hit.outputs.items()}
            instance.status = StepStatus.CACHED
            self._cached.append((instance, hit))
            decision = answer.decisions[instance.id]
            self.decisions.setdefault(instance.node.key, decision)
            event = self._events.of_step(instance, StepStatus.CACHED, cache=decision)
            self._unrun_events.append(event)
            self._count_end(instance.node)
        for instance in answer.misses:
            decided = self.decisions.get(instance.node.key)
            if decided is None or decided.hit:  # for a mapped step, report a miss rather than a hit
                self.decisions[instance.node.key] = answer.decisions[instance.id]
        return answer.misses

    def _record_unrun(self) -> None:
        cached, self._cached = self._cached, []
        unrun, self._unrun = self._unrun, []
        events, self._unrun_events = self._unrun_events, []
        if cached or unrun:
            self._pending.write()
        self._records.taken_from_cache(cached)
        self._records.ended_without_running(unrun)
        for event in events:
            self._pending.tell(event)
