"""The parts of a worker process that a step may change, and that the steps after it need unchanged.

`Surroundings` restores what every process needs, the user's own too: folder, variables, streams. `WarmWorker` takes
back the rest, in a worker.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn

from rayform_runtime.artifacts.pickling import repair_main
from rayform_runtime.execution.worker.module_state import ModuleStates
from rayform_runtime.execution.worker.process_state import ProcessState
from rayform_runtime.execution.worker.seeds import start_generators

__all__ = ["Surroundings", "WarmWorker"]


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


def _encoded_variables() -> dict[bytes, bytes]:
    """Return this process's variables as the kernel has them.

    It is the dictionary that `os.environb` wraps, if there is one. A copy of `os.environb` decodes and encodes each
    variable, which took a twentieth of the time of a trivial step.
    """
    variables = getattr(os.environb, "_data", None)
    return variables if isinstance(variables, dict) else dict(os.environb)


class Surroundings:
    """The state of a worker process before a step's function is called; restored at the end of a `with` block.

    Workers stay warm, and chance decides which steps share one. So the next step must not find the folder, the mask
    or the streams of the one before it, nor its variables and import paths, nor miss a variable that it removed.
    Variables and import paths that a step *added* stay if it imported a module: a worker does that only once, and the
    module may have added them for all its later users.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        try:
            self._folder: str | None = os.getcwd()  # noqa: PTH109 - on the way to every step's first line
        except OSError:
            self._folder = None  # it was deleted
        self._variables = _encoded_variables().copy()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._import_path = list(sys.path)
        self._modules = len(sys.modules)
        # Whether the step imported a module; set once its function has returned.
        self._has_imported = False
        self._streams = (sys.stdin, sys.stdout, sys.stderr)

    def __enter__(self) -> Surroundings:
        return self

    def __exit__(self, *_: object) -> None:
        """Restore all of it."""
        self._restore_for_saving()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        variables = _encoded_variables()
        if variables != self._variables:
            had_zone = os.environ.get("TZ")
            for name, value in self._variables.items():
                if variables.get(name) != value:
                    os.environb[name] = value
            if not self._has_imported:
                for name in [name for name in variables if name not in self._variables]:
                    del os.environb[name]
            if os.environ.get("TZ") != had_zone:
                time.tzset()
        if not self._has_imported:
            sys.path[:] = self._import_path

    def call(self, function: Callable[..., object], arguments: Mapping[str, object]) -> object:
        """Call a step's function, then restore what saving its outputs needs.

        A child that the function forked and that comes out of it ends here: it holds the worker's connection too,
        and would answer in its parent's place.
        """
        error: BaseException | None = None
        try:
            return function(**arguments)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if os.getpid() != self._pid:
                self._leave(error)
            self._has_imported = len(sys.modules) > self._modules
            self._restore_for_saving()

    def _restore_for_saving(self) -> None:
        """Restore the streams, the mask of new files and the import path."""
        sys.stdin, sys.stdout, sys.stderr = self._streams
        os.umask(self._mask)
        if sys.path[: len(self._import_path)] != self._import_path:
            added = [entry for entry in sys.path if entry not in self._import_path]
            sys.path[:] = [*added, *self._import_path]

    def _leave(self, error: BaseException | None) -> NoReturn:
        code = 0
        try:
            if isinstance(error, SystemExit):
                code = error.code if isinstance(error.code, int) else int(error.code is not None)
            elif error is not None:
                code = 1
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
