"""What one step must not leave to the next one in the same worker, apart from folder, variables and streams."""

from __future__ import annotations

import sys

from rayform_runtime.artifacts.pickling import repair_main
from rayform_runtime.execution.worker.module_state import ModuleStates
from rayform_runtime.execution.worker.process_state import ProcessState
from rayform_runtime.execution.worker.seeds import start_generators

__all__ = ["WarmWorker"]


class WarmWorker:
    """A worker process that has loaded the code of a first step."""

    def __init__(self) -> None:
        # The modules of the project; a module is added when it has been imported.
        self._modules = ModuleStates()
        # Taken before the first step.
        self._process: ProcessState | None = None

    def begin(self) -> None:
        """Get ready for a step whose code and arguments are loaded."""
        if self._process is None:
            self._process = ProcessState()
            self._modules.watch()
        self._modules.note_new()
        start_generators()

    def end(self) -> bool:
        """Take back what a step changed; return whether the worker may run another one."""
        if self._process is None:
            return True  # the step didn't begin
        restored = self._process.restore()
        if "joblib" in sys.modules:
            repair_main()
        return self._modules.are_unchanged() and restored
