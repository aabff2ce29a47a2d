"""Runs the body of a dynamic pipeline in a thread next to the scheduler's loop."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rayform_runtime.catalog.entities import StepError
from rayform_runtime.execution.scheduling.dynamic.calls import BodyStopped, Calls
from rayform_runtime.usercode.tracebacks import step_error

if TYPE_CHECKING:
    from pathlib import Path

    from rayform_runtime.components import Stack
    from rayform_runtime.execution.interface import RunRequest

__all__ = ["Body", "run_body"]

RUNNER = "rayform.launching.bodies:run_body"
"""Runs a body: `run_body(request, stack, calls, code_folder)`. A room above this one has it, since it traces step calls
as the SDK does; it is named by its import path, like the flavors of components."""
_LAST_WORDS_SECONDS = 1.0


def run_body(
    request: RunRequest, stack: Stack, calls: Calls, code_folder: Callable[[], Path | None] | None
) -> None:
    """Run the body of a dynamic pipeline in this thread.

    Args:
        request: the run.
        stack: has the values that the body loads.
        calls: receives the body's calls.
        code_folder: returns the project's folder on this machine; by default the folder that the run was traced in.
    """
    module, _, name = RUNNER.partition(":")
    getattr(importlib.import_module(module), name)(request, stack, calls, code_folder)


class Body:
    """The thread of one run's body.

    Args:
        run: runs the body and returns at its end.
        calls: what the body shares with the loop.
    """

    def __init__(self, run: Callable[[], None], calls: Calls) -> None:
        self._run = run
        self._calls = calls
        self._error: BaseException | None = None  # what the body raised; set before it counts as ended
        # A daemon: code that never calls a step again can't keep a stopped run's process alive.
        self._thread = threading.Thread(target=self._work, name="rayform-body", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the body at its next call; wait a moment for its `finally` blocks."""
        self._calls.stop()
        if self._thread.ident is not None:
            self._thread.join(_LAST_WORDS_SECONDS)

    @property
    def error(self) -> StepError | None:
        """Why the body failed; `None` if it returned, or was stopped."""
        error = self._calls.refusal or self._error
        return None if error is None else step_error(error)

    @property
    def raised(self) -> BaseException | None:
        """What the body raised."""
        return self._error

    def _work(self) -> None:
        try:
            self._run()
            self._calls.refuse_early_end()
        except BodyStopped:
            pass  # the loop records the end of the run
        except BaseException as error:  # noqa: BLE001 - the loop records it as the run's error
            self._error = error
        finally:
            self._calls.finish_body()
