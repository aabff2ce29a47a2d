"""How a failed run looks in a person's script: their own traceback, and no frames of Rayform."""

from __future__ import annotations

import contextlib
import shlex
import sys
import traceback
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from rayform_core.errors import PipelineFailedError, RayformError
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.usercode.tracebacks import is_framework_file, person_traceback

if TYPE_CHECKING:
    from rayform_runtime.execution.interface import RunOutcome, RunRequest
    from rayform_runtime.spec import PipelineSpec

__all__ = ["SHOWN_ERRORS", "failed_run_error", "keep_tracebacks_short", "loading"]


_LONGEST_LINE = 200
SHOWN_ERRORS = 5
"""Failed steps whose errors are shown; a wide map may fail a thousand times in one way."""


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Load a person's code in here: what its top level raises becomes an error with their own frames alone.

    Args:
        what: how to call the code, such as `"'train.py'"`.

    Raises:
        RayformError: loading it failed.
    """
    try:
        yield
    except RayformError:
        raise
    except (Exception, SystemExit) as error:
        raise RayformError(
            f"{what} can't be loaded.", why=person_traceback(error).rstrip(), hint="Mend it and try again."
        ) from error


def failed_run_error(
    request: RunRequest, outcome: RunOutcome, *, shown: bool, in_images: bool = False
) -> PipelineFailedError:
    """Return the error of a run that ended without success.

    Args:
        shown: whether the progress display has shown the steps' tracebacks already.
        in_images: whether the stack runs steps in images of their own.
    """
    name = request.run_name
    if outcome.status is RunStatus.STOPPED:
        return PipelineFailedError(
            f"Run '{name}' was stopped.", hint=f"`rayform runs resume {name}` runs what is missing."
        )
    told = list(outcome.errors.items())[:SHOWN_ERRORS]
    whys = [
        f"Step '{key}' raised {e.type}: {_first_line(e.message) if shown else e.message}" for key, e in told
    ]
    if more := len(outcome.errors) - len(told):
        whys.append(f"… and {more} more: rayform runs describe {name}")
    if not shown:
        whys += [e.traceback for _, e in told if e.traceback]
    # A spun step's run can be resumed too, but goes on with the whole pipeline then.
    again = f"`rayform runs resume {name}` runs only what is missing" if not request.only else "spin it again"
    hint = f"Mend it, then {again}."
    lacking = [key.partition("[")[0] for key, e in told if e.type == "ModuleNotFoundError"]
    if lacking and in_images:
        hint = (
            "Name what a step imports in its image, as in @pipeline(image=ImageSpec(requirements=['numpy'])), and "
            "start a new run: a resumed one keeps its images."
        )
    elif wanted := _requirements(request.spec, lacking):
        hint = (
            "This stack runs steps in your own environment and builds no images: "
            f"`pip install {shlex.join(wanted)}`, then {again}."
        )
    return PipelineFailedError(f"Run '{name}' {outcome.status}.", why="\n".join(whys) or None, hint=hint)


def _requirements(spec: PipelineSpec, keys: Collection[str]) -> list[str]:
    """Return, as pip's arguments, what the images of these steps would have had installed."""
    found: dict[str, None] = {}
    for step in spec.steps:
        image = step.image or spec.image
        wanted = image.requirements if image is not None and step.key in keys else None
        if isinstance(wanted, str):
            found.update(dict.fromkeys(["-e", "."] if wanted == "pyproject" else ["-r", wanted]))
        else:
            found.update(dict.fromkeys(wanted or ()))
    return list(found)


def _first_line(message: str) -> str:
    """Return enough of a message to know it again, where all of it stands a few lines above."""
    line = message.partition("\n")[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def keep_tracebacks_short() -> None:
    """Let an error of Rayform that a script doesn't catch show only the script's own frames.

    The interpreter's hook is wrapped once; other errors, and other people's hooks, stay as they are.
    """
    if getattr(sys.excepthook, "_rayform", False):
        return
    earlier = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RayformError):
            sys.stderr.write(readable(error, trace))
        elif isinstance(error, KeyboardInterrupt) and _is_within_rayform(trace):
            sys.stderr.write("Interrupted.\n")  # the run has said how to go on
        else:
            earlier(kind, error, trace)

    hook._rayform = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _is_within_rayform(trace: TracebackType | None) -> bool:
    frames = traceback.extract_tb(trace)
    return bool(frames) and is_framework_file(frames[-1].filename)


def readable(error: RayformError, trace: TracebackType | None) -> str:
    """Write an error with the frames of a person's own code, without Rayform's.

    A failed run shows no frames at all: what matters are those of the step, which it has shown.
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
