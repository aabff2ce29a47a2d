"""How a failed run looks in a user's script: the user's own traceback, and no frames of Rayform."""

from __future__ import annotations

import contextlib
import shlex
import sys
import traceback
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from rayform_core.errors import PipelineFailedError, RayformError
from rayform_core.terminal import printable
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.usercode.tracebacks import is_framework_file, user_traceback

if TYPE_CHECKING:
    from rayform_runtime.execution.interface import RunOutcome, RunRequest
    from rayform_runtime.spec import PipelineSpec

__all__ = ["SHOWN_ERRORS", "failed_run_error", "keep_tracebacks_short", "loading"]


_LONGEST_LINE = 200
SHOWN_ERRORS = 5
"""Failed steps whose errors are shown; a wide map may fail a thousand times in the same way."""


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn what a user's code raises while it loads into an error that shows only the user's own frames.

    Args:
        what: how the error names the code, such as `"'train.py'"`.

    Raises:
        RayformError: the code's top level raised.

    Example:
        >>> with loading("'train.py'"):  # doctest: +SKIP
        ...     import train
    """
    try:
        yield
    except RayformError:
        raise
    except (Exception, SystemExit) as error:
        raise RayformError(
            f"{what} can't be loaded.", why=user_traceback(error).rstrip(), hint="Fix it and try again."
        ) from error


def failed_run_error(
    request: RunRequest, outcome: RunOutcome, *, shown: bool, in_images: bool = False
) -> PipelineFailedError:
    """Return the error of a run that ended without success.

    Args:
        request: what was run.
        outcome: how it ended.
        shown: whether the progress display has shown the steps' tracebacks already.
        in_images: whether the stack runs each step in an image that is built for it.
    """
    name = request.run_name
    if outcome.status is RunStatus.STOPPED:
        return PipelineFailedError(
            f"Run '{name}' was stopped.", hint=f"`rayform runs resume {name}` runs what is missing."
        )
    errors = list(outcome.errors.items())[:SHOWN_ERRORS]
    whys = [
        f"Step '{key}' raised {e.type}: {_first_line(e.message) if shown else e.message}" for key, e in errors
    ]
    if outcome.body_error is not None:
        whys.insert(0, f"The body raised {outcome.body_error.type}: {outcome.body_error.message}")
    if more := len(outcome.errors) - len(errors):
        whys.append(f"… and {more} more: rayform runs describe {name}")
    if not shown:
        raised = [e for _, e in errors] + ([outcome.body_error] if outcome.body_error is not None else [])
        whys += [e.traceback for e in raised if e.traceback]
    # The run of a spun step can be resumed too, but would then go on with the whole pipeline.
    again = f"`rayform runs resume {name}` runs only what is missing" if not request.only else "spin it again"
    hint = f"Fix it, then {again}."
    steps_without_module = [key.partition("[")[0] for key, e in errors if e.type == "ModuleNotFoundError"]
    if steps_without_module and in_images:
        hint = (
            "Add what the step imports to its image, as in "
            "@pipeline(image=ImageSpec(requirements=['numpy'])), and start a new run: a resumed run keeps its images."
        )
    elif requirements := _requirements(request.spec, steps_without_module):
        hint = (
            "This stack runs steps in your own environment and builds no images: "
            f"`pip install {shlex.join(requirements)}`, then {again}."
        )
    return PipelineFailedError(f"Run '{name}' {outcome.status}.", why="\n".join(whys) or None, hint=hint)


def _requirements(spec: PipelineSpec, keys: Collection[str]) -> list[str]:
    """Return, as pip's arguments, what the images of these steps would install."""
    arguments: dict[str, None] = {}
    for step in spec.steps:
        image = step.image or spec.image
        requirements = image.requirements if image is not None and step.key in keys else None
        if isinstance(requirements, str):
            arguments.update(
                dict.fromkeys(["-e", "."] if requirements == "pyproject" else ["-r", requirements])
            )
        else:
            arguments.update(dict.fromkeys(requirements or ()))
    return list(arguments)


def _first_line(message: str) -> str:
    """Return enough of a message to recognize it; the display shows all of it a few lines above."""
    line = message.partition("\n")[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def keep_tracebacks_short() -> None:
    """Make a Rayform error that a script doesn't catch show only the script's own frames.

    This wraps the interpreter's `sys.excepthook` once. Other errors go to the hook that was there before.
    """
    if getattr(sys.excepthook, "_rayform", False):
        return
    previous_hook = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RayformError):
            sys.stderr.write(printable(_readable(error, trace)))
        elif isinstance(error, KeyboardInterrupt) and _is_within_rayform(trace):
            sys.stderr.write("Interrupted.\n")  # the run's display has shown how to go on
        else:
            previous_hook(kind, error, trace)

    hook._rayform = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _is_within_rayform(trace: TracebackType | None) -> bool:
    frames = traceback.extract_tb(trace)
    return bool(frames) and is_framework_file(frames[-1].filename)


def _readable(error: RayformError, trace: TracebackType | None) -> str:
    """Write an error with the frames of the user's own code, without Rayform's.

    A failed run shows no frames at all: the frames that matter are the step's, and those were shown.
    """
    lines: list[str] = []
    if not isinstance(error, PipelineFailedError):
        frames = [f for f in traceback.extract_tb(trace) if not is_framework_file(f.filename)]
        if frames:
            lines += ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    lines.append(f"{type(error).__name__}: {error.message}\n")
    if error.why:
        lines += [
            f"  Why:  {line}\n" if i == 0 else f"        {line}\n"
            for i, line in enumerate(error.why.splitlines())
        ]
    if error.hint:
        lines.append(f"  Next: {error.hint}\n")
    return "".join(lines)
