"""Loading a person's script for its functions, without starting the pipelines that its top level calls.

A script without an `if __name__ == "__main__"` guard would start its pipeline again in every process that
loads it for its steps. While a script is loaded here, such a call raises `PipelineCalledWhileLoading` instead,
and the script counts as loaded up to that line: the functions that the pipeline needs stand above it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType

__all__ = ["PipelineCalledWhileLoading", "ends_quietly", "script_being_loaded"]

_loading: list[ModuleType] = []


class PipelineCalledWhileLoading(BaseException):
    """Raised by a pipeline call at the top level of a script that is loaded for its functions.

    Not an `Exception`, so that a script's own `except Exception` doesn't stop it.
    """


@contextlib.contextmanager
def ends_quietly(module: ModuleType) -> Iterator[None]:
    """Run a script's top level in this context: a pipeline call in it ends the context without an error."""
    _loading.append(module)
    try:
        yield
    except PipelineCalledWhileLoading:
        pass
    finally:
        _loading.pop()


def script_being_loaded() -> ModuleType | None:
    """Return the script that the caller's code is the top level of, while it is loaded; else `None`."""
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
