"""Tracebacks for the user who wrote a step: with the user's own frames, without Rayform's."""

from __future__ import annotations

import os
import traceback
from functools import lru_cache
from pathlib import Path

from rayform_core.errors import RayformError
from rayform_runtime.catalog.entities import StepError

__all__ = ["is_framework_file", "step_error", "user_traceback"]

_LONGEST = 100_000
"""Characters; the middle of a longer traceback is cut out."""


@lru_cache(maxsize=1)
def _framework_folders() -> tuple[str, ...]:
    import rayform_core

    runtime = Path(__file__).resolve().parents[1]
    core = Path(rayform_core.__file__).resolve().parent
    # `rayform` lies next to these if installed, and in `sdk/` in a checkout. It isn't imported just for its place.
    sdk = [runtime.parent / "rayform", runtime.parents[1] / "sdk" / "rayform"]
    return tuple(f"{folder}/" for folder in (runtime, core, *sdk))


@lru_cache(maxsize=1024)
def is_framework_file(filename: str) -> bool:
    """Whether a file belongs to Rayform, or to Python's import machinery."""
    return filename.startswith((*_framework_folders(), "<frozen importlib", "<frozen runpy"))


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an error and its causes, without Rayform's frames.

    Example:
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError as error:
        ...     print(user_traceback(error).splitlines()[-1])
        ZeroDivisionError: division by zero
    """
    whole = traceback.TracebackException.from_exception(error, max_group_width=5, max_group_depth=3)
    if isinstance(error, RayformError) and not _has_user_frames(whole):
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


def _has_user_frames(whole: traceback.TracebackException) -> bool:
    """Whether a cause of one of Rayform's errors passed through code that is neither Rayform's nor Python's own.

    The error's own text explains a full disk or a constraint of the database, but not what a user's materializer did.
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
    """Turn what a step raised into its record, in text that every encoding of Unicode can hold.

    A message may hold half a surrogate pair (a file name that isn't UTF-8 has some), which no terminal, file or
    database takes. It becomes `\\udc80`, as in what Python prints to standard error.
    """
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - the user's own `__str__`
        message = f"(its text can't be shown: {type(broken).__name__})"
    try:
        shown = user_traceback(error)
    except Exception:  # noqa: BLE001 - a source file changed or broke meanwhile
        shown = f"{type(error).__name__}: {message}\n"
    kind = type(error)
    name = kind.__qualname__
    if isinstance(error, RayformError) and not message.strip():
        message = error.message
    return StepError(_encodable(name), _encodable(message[:10_000]), _encodable(shown))


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
