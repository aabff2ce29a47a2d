"""Loading a person's code for its functions, without starting the pipelines that its top level calls.

A script without an `if __name__ == "__main__"` guard would start its pipeline again in every process that
loads it for its steps, and those processes would too, without end. While code is loaded here, such a call
raises `PipelineCalledWhileLoading` instead, and the module counts as loaded up to that line: the functions that
the pipeline needs stand above it. Three things keep runs from starting runs: this, the check for a call in a
module that is imported on the way (which has nothing to end), and a limit on the depth of processes.
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
    "is_loading",
    "run_depth",
    "script_being_loaded",
]

_loading: list[ModuleType] = []
_DEPTH = "RAYFORM_RUN_DEPTH"


class PipelineCalledWhileLoading(BaseException):
    """Raised by a pipeline call at the top level of a script that is loaded for its functions.

    Not an `Exception`, so that a script's own `except Exception` doesn't stop it.
    """


@contextlib.contextmanager
def ends_quietly(module: ModuleType) -> Iterator[None]:
    """Run a module's top level in this context: a pipeline call in it ends the context without an error."""
    _loading.append(module)
    try:
        yield
    except PipelineCalledWhileLoading:
        pass
    finally:
        _loading.pop()


def is_loading() -> bool:
    """Whether code is being loaded for its functions in this process."""
    return bool(_loading)


def script_being_loaded() -> ModuleType | None:
    """Return the module that the caller's code is the top level of, while it is loaded here; else `None`."""
    if not _loading:
        return None
    script = _loading[-1]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            # The nearest top level decides: a pipeline call in an imported module has nothing to end there.
            return script if frame.f_globals is vars(script) else None
        frame = frame.f_back
    return None


def import_without_running(name: str) -> ModuleType:
    """Import a module like `importlib.import_module`, but end it quietly where it calls a pipeline.

    Raises:
        ModuleNotFoundError: there is none; whatever else its top level raises passes through.
    """
    known = sys.modules.get(name)
    if known is not None:
        return known
    parent, _, child = name.rpartition(".")
    if parent:
        import_without_running(parent)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or not (spec.origin or "").endswith(".py"):
        return importlib.import_module(name)  # built in, compiled or absent: nothing of a script's
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
    """Note that this process works for a run, so that processes which it starts know how deep they are."""
    os.environ[_DEPTH] = str(run_depth() + 1)


def run_depth() -> int:
    """Return how many runs this process stands within; 0 for a person's own."""
    text = os.environ.get(_DEPTH, "")
    return int(text) if text.isdigit() else 0
