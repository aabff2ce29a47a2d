"""The code that steps asked for by computed names: recorded with their results, and compared at the next look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rayform_runtime.catalog.reuse import Reuse
from rayform_runtime.execution.interface import StepResult

__all__ = ["LoadedCode"]

_EDITED = {"<edited>": "while the step ran"}
"""Recorded for code whose state during the step isn't known. No code is ever equal to it."""


class LoadedCode:
    """Reads the project's code in the folder where the scheduler has it.

    Args:
        folder: returns the project's folder; called once, when a step has loaded code. `None` if there is none.
        may_change: whether the files there may be edited during the run.
    """

    def __init__(self, folder: Callable[[], Path | None], *, may_change: bool = True) -> None:
        self._may_change = may_change
        self._find_folder = folder
        self._folder: Path | None = None  # set by the first question
        self._is_found = False
        self._parts: dict[tuple[str, ...], Mapping[str, str] | None] = {}  # what was read, by places

    def reuse_of(self, result: StepResult) -> Reuse | None:
        """Return what a later run needs to take a result, or `None` if the cache key says it all."""
        if not result.loaded and not result.model_metadata:
            return None
        code: Mapping[str, str] = {}
        if result.loaded:
            code = self._read(tuple(result.loaded)) or _EDITED
            if self._may_change and self._is_newer(result.loaded, result.started_at):
                code = _EDITED
        return Reuse(result.loaded, code, result.model_metadata)

    def changed(self, reuse: Reuse | None) -> list[str]:
        """Return the places in the code that differ from those that an earlier step loaded."""
        if reuse is None or not reuse.places:
            return []
        parts = self._read(tuple(reuse.places))
        if parts is None:
            return list(reuse.places)
        return sorted(place for place in {**reuse.code, **parts} if reuse.code.get(place) != parts.get(place))

    def _read(self, places: tuple[str, ...]) -> Mapping[str, str] | None:
        """Return the digests of the code at these places, or `None` if the scheduler doesn't have the code."""
        if places not in self._parts:
            from rayform_runtime.usercode.digest import code_of_files

            folder = self._root()
            self._parts[places] = code_of_files(places, folder).parts if folder is not None else None
        return self._parts[places]

    def _root(self) -> Path | None:
        if not self._is_found:
            self._folder, self._is_found = self._find_folder(), True
        return self._folder

    def _is_newer(self, places: Sequence[str], started: datetime | None) -> bool:
        folder = self._root()
        for place in places:
            try:
                file = Path(folder or "", place.partition(":")[0])
                if started is None or file.stat().st_mtime > started.timestamp():
                    return True
            except OSError:
                return True
        return False
