"""Calls user-defined hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rayform_runtime.usercode.loading import load_function
from rayform_runtime.usercode.tracebacks import step_error

if TYPE_CHECKING:
    from rayform_runtime.usercode.code_ref import CodeRef

__all__ = ["call_hook", "call_init_hook"]


def call_hook(source: CodeRef, error: BaseException | None) -> None:
    """Call a hook, with the error if there is one and the hook takes an argument.

    What it raises is printed to the step's log and changes nothing else.
    """
    try:
        hook = load_function(source)
        if error is None or not _takes_an_argument(hook):
            hook()
        else:
            hook(error)
    except Exception as broken:  # noqa: BLE001 - a broken hook must not turn a result into another
        print(f"Hook '{source}' failed:\n{step_error(broken).traceback}", flush=True)  # noqa: T201


def call_init_hook(source: CodeRef, arguments: Mapping[str, object]) -> object:
    """Call a pipeline's `on_init` and return what it returns. What it raises fails the step."""
    return load_function(source)(**arguments)


def _takes_an_argument(hook: Callable[..., object]) -> bool:
    import inspect

    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in (*positional, inspect.Parameter.VAR_POSITIONAL) for p in parameters)
