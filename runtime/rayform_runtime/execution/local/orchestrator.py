"""The orchestrator of flavor `local`: the scheduler in this process, and workers on this machine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import ConflictError
from rayform_runtime.execution.interface import Executor, Listener, Orchestrator, RunOutcome, RunRequest
from rayform_runtime.execution.local.choose_launcher import choose_launcher
from rayform_runtime.execution.local.early_start import take_early_launcher
from rayform_runtime.execution.local.launcher import Launcher, RunCode
from rayform_runtime.execution.local.resources import (
    LocalResources,
    machine_cpus,
    machine_gpus,
    machine_memory,
)

if TYPE_CHECKING:
    from rayform_runtime.components import Stack
    from rayform_runtime.execution.config import LocalOrchestratorConfig
    from rayform_runtime.spec import PipelineSpec

__all__ = ["LocalOrchestrator"]

_STOP_SECONDS = 10.0


class LocalOrchestrator(Orchestrator):
    """Runs pipelines in warm worker processes on this machine.

    Args:
        config: the CPUs, memory and GPUs that steps share; by default all of this machine's.
        stack_name: the stack that it belongs to.
    """

    def __init__(self, config: LocalOrchestratorConfig, *, stack_name: str) -> None:
        self.config = config
        self.stack_name = stack_name
        self._turn = threading.RLock()
        self._launcher: Launcher | None = None

    def warm_up(self) -> None:
        """Start the fork server; it imports Rayform while the caller traces the pipeline."""
        if self._launcher is None:
            self._launcher = take_early_launcher() or choose_launcher()

    def resources(self) -> LocalResources:
        """Return what steps share: what the settings declare, else what the machine has."""
        config = self.config
        gpus = machine_gpus()
        if config.gpus is not None:
            gpus = [*gpus, *(str(i) for i in range(len(gpus), int(config.gpus)))][: int(config.gpus)]
        return LocalResources(config.cpus or machine_cpus(), config.memory or machine_memory(), gpus)

    def run(self, request: RunRequest, stack: Stack, listener: Listener) -> RunOutcome:
        """See `Orchestrator.run`; `request.detach` has no meaning here, since this process does the work."""
        from rayform_runtime.execution.scheduling.scheduler import Scheduler

        # All runs of a process share one launcher; runs that several threads start take turns.
        with self._turn:
            return Scheduler(request, stack, self._executor(request, stack), listener).run()

    def _executor(self, request: RunRequest, stack: Stack) -> Executor:
        if request.debug:
            from rayform_runtime.execution.worker.in_process_executor import InProcessExecutor

            return InProcessExecutor(stack)
        from rayform_runtime.execution.local.executor import LocalExecutor

        self.warm_up()
        assert self._launcher is not None
        spec = request.spec
        resources = self.resources()
        resources.check(spec)  # before anything is started
        executor = LocalExecutor(
            str(request.run_id),
            self._launcher,
            resources,
            _code_of(spec),
            max_workers=self.config.max_workers,
            log_store=None if stack.artifact_store.is_local else stack.artifact_store,
        )
        if request.no_cache or not spec.enable_cache or not all(s.enable_cache for s in spec.steps):
            # The run certainly needs a worker: let it start while the scheduler opens the catalog.
            executor.get_ready()
        return executor

    def stop(self, run_id: UUID, stack: Stack) -> None:
        """Ask the run's process to end the run, and wait until it has; mark the run if the process is dead.

        Raises:
            ConflictError: the process lives and hasn't ended the run.
        """
        import time

        from rayform_runtime.execution.scheduling.liveness import mark_dead_runs
        from rayform_runtime.processes.identity import machine_and_boot

        mark_dead_runs(stack.catalog)
        run = stack.catalog.get_run(run_id)
        if run.status.is_finished:
            return
        stack.catalog.request_stop(run_id)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            if stack.catalog.get_run(run_id, hydrate=False).status.is_finished:
                return
            time.sleep(0.1)
        mark_dead_runs(stack.catalog)
        if not stack.catalog.get_run(run_id, hydrate=False).status.is_finished:
            machine, _ = machine_and_boot(run.host or "an unknown host")
            raise ConflictError(
                f"Run '{run.name}' was asked to stop and is still running.",
                why=f"Its process ({run.pid} on {machine}) hasn't answered for {_STOP_SECONDS:g} seconds.",
                hint="Try again in a moment, or end that process.",
            )

    def check(self) -> None:
        """This machine can always run steps."""

    def close(self) -> None:
        """End the fork server and all workers. Idempotent."""
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            launcher.shutdown()


def _code_of(spec: PipelineSpec) -> RunCode:
    """Return the user's code of a pipeline, with one function per module to import."""
    from rayform_runtime.usercode.code_ref import CodeRef
    from rayform_runtime.usercode.program import Program

    sources: dict[tuple[str, str | None], CodeRef] = {}
    for source in [spec.source] if spec.is_dynamic else [step.source for step in spec.steps]:
        if source.pickled is None:
            ref = CodeRef.of(source)
            sources.setdefault((ref.module, ref.file), ref)
    paths = tuple(spec.import_paths or (".",))
    program = Program.of(spec.program)
    return RunCode(dict(spec.environment), spec.code_root, paths, tuple(sources.values()), program)
