"""Collects the problems that the checks with a cloud find in a definition."""

from __future__ import annotations

from rayform_provisioner.definitions.definition import LoadedDefinition
from rayform_provisioner.definitions.located import DefinitionError, Problem

__all__ = ["Problems"]


class Problems:
    """The problems of one definition, each with its place in the file.

    Args:
        loaded: the definition.
    """

    def __init__(self, loaded: LoadedDefinition) -> None:
        self._loaded = loaded
        self._problems: list[Problem] = []

    def add(self, path: tuple[str | int, ...], message: str, hint: str) -> None:
        """Note that the value at `path` is wrong."""
        place = self._loaded.located.mark(path)
        self._problems.append(Problem(".".join(map(str, path)), place, message, hint))

    def raise_if_any(self) -> None:
        """Raise a `DefinitionError` with every problem so far, in the file's order."""
        if self._problems:
            in_order = sorted(self._problems, key=lambda p: (p.mark.line, p.mark.column))
            raise DefinitionError(self._loaded.source, in_order)
