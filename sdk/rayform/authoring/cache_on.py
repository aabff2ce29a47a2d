"""What a step's result depends on outside of its code and inputs: the options `cache_files` and `cache_on`."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rayform_core.errors import UsageError

__all__ = ["cache_dependencies"]

_BLOCK = 1 << 20


def cache_dependencies(
    function: Callable[..., object], files: Sequence[str | Path] | str | Path, value: object, *, what: str
) -> dict[str, str]:
    """Return the digest of each dependency, by the name that a user would give it.

    Args:
        function: the step's function; relative paths start from the folder of its file.
        files: files, folders and patterns such as `"data/*.csv"`.
        value: a value that JSON has a form for, or a function without arguments that returns one; `None` for none.
        what: the name of the step in an error.

    Raises:
        UsageError: a file doesn't exist, or the value can't be written as JSON.
    """
    listed = [files] if isinstance(files, str | Path) else list(files)
    code = getattr(function, "__code__", None)
    source = Path(code.co_filename) if code is not None else Path()
    base = source.parent if source.is_file() else Path.cwd()
    digests: dict[str, str] = {}
    for entry in listed:
        for path in _matches(base, Path(entry), what):
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
            digests[name] = _digest_of_file(path)
    if value is not None:
        digests["the value of cache_on"] = _digest_of_value(value, what)
    return digests


def _matches(base: Path, entry: Path, what: str) -> list[Path]:
    pattern = str(base / entry.expanduser())
    paths = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - absolute patterns
    if not paths:
        raise UsageError(
            f"{what} depends on '{entry}', which doesn't exist.",
            why=f"No file matches {pattern}.",
            hint="Correct the path in `cache_files`; relative paths start from the folder of the step's file.",
        )
    files = [f for path in paths for f in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [file for file in files if file.is_file()]


def _digest_of_file(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _digest_of_value(value: object, what: str) -> str:
    result = value() if callable(value) else value
    try:
        text = json.dumps(result, sort_keys=False, allow_nan=True)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{what} has a wrong 'cache_on'.",
            why=f"It is {result!r:.100}, and JSON has no form for it: {error}.",
            hint="Give text, numbers, lists or dicts of them, or a function that returns such a value.",
        ) from None
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
