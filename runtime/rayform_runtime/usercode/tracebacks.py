"""Tracebacks as the person who wrote the step wants them: their own frames, not Rayform's."""

from __future__ import annotations

import os
import traceback
from functools import lru_cache
from pathlib import Path

from rayform_core.errors import RayformError
from rayform_runtime.catalog.entities import StepError

__all__ = ["is_framework_file", "person_traceback", "step_error"]

_LONGEST = 100_000


@lru_cache(maxsize=1)
def _framework_folders() -> tuple[str, ...]:
    import rayform_core

    runtime = Path(__file__).resolve().parents[1]
    core = Path(rayform_core.__file__).resolve().parent
    # `rayform` itself is found beside these when installed, in `sdk/` in a checkout; not imported for this.
    sdk = [runtime.parent / "rayform", runtime.parents[1] / "sdk" / "rayform"]
    return tuple(f"{folder}/" for folder in (runtime, core, *sdk))


@lru_cache(maxsize=1024)
def is_framework_file(filename: str) -> bool:
    """Whether a frame of this file is Rayform's own, or the import machinery's."""
    return filename.startswith((*_framework_folders(), "<frozen importlib", "<frozen runpy"))


def person_traceback(error: BaseException) -> str:
    """Return the traceback of an error, of its causes too, without Rayform's frames.

    Example:
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError as error:
        ...     print(person_traceback(error).splitlines()[-1])
        ZeroDivisionError: division by zero
    """
    whole = traceback.TracebackException.from_exception(error, max_group_width=5, max_group_depth=3)
    if isinstance(error, RayformError) and not _is_of_interest(whole):
        whole.__cause__ = whole.__context__ = None
    todo, seen = [whole], set()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept = [frame for frame in part.stack if not is_framework_file(frame.filename)]
        part.stack = traceback.StackSummary.from_list(kept)
        todo += [p for p in (part.__cause__, part.__context__) if p is not None]
        todo += getattr(part, "exceptions", None) or []
    text = "".join(whole.format())
    if not whole.stack:
        text = text.replace("Traceback (most recent call last):\n", "", 1)
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\n…\n" + text[-_LONGEST // 2 :]


def _is_of_interest(whole: traceback.TracebackException) -> bool:
    """Whether what led to an error of Rayform's passed through code that is neither Rayform's nor Python's own.

    A full disk or a constraint of the database is told by the error itself; a person's materializer isn't.
    """
    library = f"{os.path.dirname(os.__file__)}/"  # noqa: PTH120 - a prefix to compare text with
    part, seen = whole.__cause__ or whole.__context__, set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        for frame in part.stack:
            is_pythons = frame.filename.startswith(library) and "/site-packages/" not in frame.filename
            if not is_pythons and not is_framework_file(frame.filename):
                return True
        part = part.__cause__ or part.__context__
    return False


def step_error(error: BaseException) -> StepError:
    """Turn what a step raised into its record, in text that every encoding of Unicode has.

    A message may hold half a surrogate pair (a file name that isn't UTF-8 has some), which no terminal, file or
    database takes: it becomes `\\udc80`, as Python itself prints it to standard error.
    """
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a person's own `__str__`
        message = f"(its text can't be shown: {type(broken).__name__})"
    try:
        shown = person_traceback(error)
    except Exception:  # noqa: BLE001 - a source file that changed or broke under our hands
        shown = f"{type(error).__name__}: {message}\n"
    kind = type(error)
    name = kind.__qualname__
    if isinstance(error, RayformError) and not message.strip():
        message = error.message
    return StepError(_encodable(name), _encodable(message[:10_000]), _encodable(shown))


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
