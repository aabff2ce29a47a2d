"""Loads a user's code for its functions, without starting the pipelines that its top level calls.

A script without an `if __name__ == "__main__"` guard would start its pipeline again in every process that loads it
for its steps, and those processes would do the same, without end. While code is loaded here, a pipeline call raises
`PipelineCalledWhileLoading` instead, and the module counts as loaded up to that line: the functions that the pipeline
needs stand above it. Three things keep runs from starting runs: this error, the check for a pipeline call in a module
that the script imports (there the error would end nothing), and a limit on the depth of processes.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType

__all__ = [
    "PipelineCalledWhileLoading",
    "ends_quietly",
    "enter_worker_process",
    "import_without_running",
    "is_importing_main",
    "is_loading",
    "run_depth",
    "script_being_loaded",
]

_loading: list[ModuleType] = []
"""Modules whose top levels are running for their functions, the innermost last."""
_DEPTH = "RAYFORM_RUN_DEPTH"


class PipelineCalledWhileLoading(BaseException):
    """A pipeline was called at the top level of a script that is being loaded for its functions.

    Not an `Exception`, so that an `except Exception` in the script doesn't catch it.
    """


class Loading:
    """A module's top level that runs; `was_cut_short` is set once a pipeline call has ended it."""

    was_cut_short = False


@contextlib.contextmanager
def ends_quietly(module: ModuleType) -> Iterator[Loading]:
    """Yield to run a module's top level; a pipeline call in it ends the context without an error."""
    loading = Loading()
    _loading.append(module)
    try:
        yield loading
    except PipelineCalledWhileLoading:
        loading.was_cut_short = True
    finally:
        _loading.pop()


def is_loading() -> bool:
    """Whether code is being loaded for its functions in this process."""
    return bool(_loading)


def is_importing_main() -> bool:
    """Whether this is a child of `multiprocessing` that is importing the main module of its parent."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and getattr(processes.current_process(), "_inheriting", False)


def script_being_loaded() -> ModuleType | None:
    """Return the module that is being loaded, if the caller's code is its top level; otherwise `None`."""
    if not _loading:
        return None
    script = _loading[-1]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            # The nearest top level decides: in a module that the script imports, ending would be wrong.
            return script if frame.f_globals is vars(script) else None
        frame = frame.f_back
    return None


def import_without_running(name: str) -> ModuleType:
    """Import a module like `importlib.import_module`, but end it quietly when it calls a pipeline.

    Raises:
        ModuleNotFoundError: there is no such module. Other errors of its top level pass through.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    parent, _, child = name.rpartition(".")
    if parent:
        import_without_running(parent)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or not (spec.origin or "").endswith(".py"):
        return importlib.import_module(name)  # built in, compiled or missing: not a user's script
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with ends_quietly(module):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def enter_worker_process() -> None:
    """Note that this process works for a run, so that the processes that it starts count their depth from here."""
    os.environ[_DEPTH] = str(run_depth() + 1)


def run_depth() -> int:
    """Return the number of runs that this process is nested in; 0 for a process that the user started."""
    text = os.environ.get(_DEPTH, "")
    return int(text) if text.isdigit() else 0
