"""The orchestrator of flavor `ray`: a Ray on this machine, or a cluster that it reaches by SSH."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.execution.interface import Listener, Orchestrator, RunOutcome, RunRequest
from rayform_runtime.processes.stop_signals import leave_on_terminate

if TYPE_CHECKING:
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead
    from rayform_runtime.components import Stack

__all__ = ["RayOrchestrator"]

_STOP_SECONDS = 10.0


class RayOrchestrator(Orchestrator):
    """Runs pipelines on Ray.

    Without an address, the scheduler runs in this process, and a Ray on this machine runs the steps without images.
    With an address, the scheduler runs as a job on the cluster's head, and each step runs in its image.

    Args:
        config: address and settings of the cluster.
        stack_name: the stack of this orchestrator.
    """

    def __init__(self, config: RayOrchestratorConfig, *, stack_name: str) -> None:
        self.config = config
        self.stack_name = stack_name
        self._head: ClusterHead | None = None
        self._started_ray = False

    def run(self, request: RunRequest, stack: Stack, listener: Listener) -> RunOutcome:
        """See `Orchestrator.run`."""
        if request.debug:
            from rayform_runtime.execution.scheduling.scheduler import Scheduler
            from rayform_runtime.execution.worker.in_process_executor import InProcessExecutor

            return Scheduler(request, stack, InProcessExecutor(stack), listener).run()
        if self.config.address is None:
            return self._run_on_this_machine(request, stack, listener)
        return self._run_on_cluster(request, stack, listener)

    def _run_on_this_machine(self, request: RunRequest, stack: Stack, listener: Listener) -> RunOutcome:
        from rayform_runtime.execution.scheduling.scheduler import Scheduler

        try:
            import ray
        except ModuleNotFoundError as error:
            raise PrerequisiteError(
                "The orchestrator flavor 'ray' needs the Python package 'ray'.",
                hint="Install it: pip install 'rayform[ray]'.",
            ) from error
        from rayform_runtime.execution.on_ray.executor import RayExecutor
        from rayform_runtime.execution.on_ray.local_ray import start_local_ray

        if not ray.is_initialized():
            # It stays for the next run: starting Ray takes seconds.
            start_local_ray(cpus=self.config.cpus, gpus=self.config.gpus)
            self._started_ray = True
        store = stack.artifact_store
        executor = RayExecutor(log_store=None if store.is_local else store)
        return Scheduler(request, stack, executor, listener).run()

    def _run_on_cluster(self, request: RunRequest, stack: Stack, listener: Listener) -> RunOutcome:
        from rayform_runtime.execution.on_ray.submission import follow_run, start_run

        head = self.head()
        started = start_run(request, stack, head, self.config, listener)
        goes_on = f"The run goes on in the cluster: `rayform runs follow {request.run_id}` shows it."
        try:
            with leave_on_terminate(goes_on):
                # A detached run is followed until its scheduler has recorded it: then every command finds it.
                return follow_run(
                    request.run_id,
                    started.job_id,
                    stack,
                    head,
                    listener,
                    offset=started.offset,
                    until_running=request.detach,
                )
        except KeyboardInterrupt:
            self.stop(request.run_id, stack)
            raise

    def follow(self, run_id: UUID, stack: Stack, listener: Listener) -> RunOutcome:
        """Follow a run that another process started, from its first event to its end."""
        from rayform_runtime.execution.on_ray.submission import follow_run

        run = stack.catalog.get_run(run_id, hydrate=False)
        return follow_run(run_id, run.orchestrator_id, stack, self.head(), listener)

    def stop(self, run_id: UUID, stack: Stack) -> None:
        """End everything of this run, and nothing else. Idempotent."""
        from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

        catalog = stack.catalog
        mark_dead_runs(catalog)
        if catalog.get_run(run_id, hydrate=False).status.is_finished:
            return
        catalog.request_stop(run_id)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            if catalog.get_run(run_id, hydrate=False).status.is_finished:
                return
            time.sleep(0.1)
        if self.config.address is not None:
            # The scheduler doesn't react: stop its job, and Ray ends the job's steps with it.
            from rayform_runtime.execution.on_ray.submission import job_prefix

            jobs = self.head().jobs()
            for job_id in jobs.running(job_prefix(run_id)):
                jobs.stop(job_id)
        if not catalog.get_run(run_id, hydrate=False).status.is_finished:
            catalog.finish_run(run_id, RunStatus.STOPPED)

    def head(self) -> ClusterHead:
        """Return the cluster's head.

        Raises:
            RemoteError: this orchestrator has no cluster.
        """
        if self.config.address is None:
            raise RemoteError(
                f"The orchestrator of stack '{self.stack_name}' has no cluster: it starts a Ray on this machine.",
                hint="Deploy a stack (`rayform stack deploy`), or set the orchestrator's `address`.",
            )
        if self._head is None:
            from rayform_runtime.cluster.from_laptop.head import ClusterHead

            self._head = ClusterHead(self.config)
        return self._head

    def check(self) -> None:
        """Prove that the cluster's head answers and is ready; a Ray on this machine needs only its package."""
        if self.config.address is not None:
            self.head().require_ready()
            return
        import importlib.util

        if importlib.util.find_spec("ray") is None:
            raise PrerequisiteError(
                "The orchestrator flavor 'ray' needs the Python package 'ray'.",
                hint="Install it: pip install 'rayform[ray]'.",
            )

    def warm_up(self) -> None:
        """Connect to the head while the caller traces the pipeline."""
        if self.config.address is not None:
            import threading

            head = self.head()

            def connect() -> None:
                try:
                    head.target.run("true", timeout=15)
                except RemoteError:
                    pass  # The run reports the same error with more detail.

            threading.Thread(target=connect, name="rayform-warm-up", daemon=True).start()

    def close(self) -> None:
        """Close the tunnel, and end the Ray that this orchestrator has started. Idempotent."""
        head, self._head = self._head, None
        if head is not None:
            head.close()
        if self._started_ray:
            from rayform_runtime.execution.on_ray.local_ray import stop_local_ray

            self._started_ray = False
            stop_local_ray(kill=True)
