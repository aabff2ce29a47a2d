"""Decides whether the conditions of a step hold, by the values of outputs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rayform_core.errors import UsageError
from rayform_runtime.execution.scheduling.graph import Node, RunGraph, VersionRef

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.spec import Condition

__all__ = ["Conditions", "UnmetCondition"]

_TESTS: Mapping[str, Callable[[Any, Any], object]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, members: value in members,
    "not in": lambda value, members: value not in members,
}
_SHOWN = 200
"""Characters of a value that are shown and recorded."""


class UnmetCondition(NamedTuple):
    """A condition that doesn't hold, and the value that it was asked about."""

    condition: Condition
    value: object

    @property
    def text(self) -> str:
        """Why the step is skipped, for users."""
        condition = self.condition
        shown = repr(self.value)[:_SHOWN]
        return (
            f"output '{condition.output}' of step '{condition.step}' is {shown}, and the condition is "
            f"{condition.operator} {condition.value!r}"
        )

    def as_metadata(self) -> dict[str, object]:
        """Return what the catalog keeps with the skipped step run."""
        value = self.value if not isinstance(self.value, str) else self.value[:_SHOWN]
        return {"skipped_because": self.text, "condition": str(self.condition), "condition_value": value}


class Conditions:
    """Asks the conditions of one run's steps. Each output is loaded once.

    Args:
        store: returns the store that has the outputs.
    """

    def __init__(self, store: Callable[[], ArtifactStore]) -> None:
        self._store = store
        self._values: dict[VersionRef, object] = {}  # what was loaded; grows with each question

    def unmet(self, node: Node, graph: RunGraph) -> UnmetCondition | None:
        """Return the first condition of a step that doesn't hold; `None` if all hold.

        Raises:
            UsageError: a value can't be compared.
            RayformError: a value can't be loaded.
        """
        for condition in node.spec.conditions:
            value = self._value(graph.output(condition.step, condition.output), condition)
            try:
                holds = bool(_TESTS[condition.operator](value, condition.value))
            except TypeError as error:
                raise UsageError(
                    f"The condition of step '{node.key}' can't be asked: {condition}.",
                    why=f"The output is {value!r}: {error}.",
                    hint="Correct the condition, or return a value that compares.",
                ) from error
            if not holds:
                return UnmetCondition(condition, value)
        return None

    def _value(self, version: VersionRef, condition: Condition) -> object:
        if version not in self._values:
            if not _is_plain(version.type):
                raise UsageError(
                    f"The output '{condition.output}' of step '{condition.step}' is a "
                    f"`{version.type.rpartition(':')[2]}`, and a condition compares it.",
                    why="A condition compares numbers, text, truth values and `None`.",
                    hint="Write a step that takes this output and returns the value to compare.",
                )
            from rayform_runtime.artifacts.values import load_value

            value = load_value(
                self._store(),
                version.uri,
                digest=version.digest,
                type=version.type,
                materializer=version.materializer,
            )
            item = getattr(value, "item", None)  # NumPy's numbers
            self._values[version] = item() if callable(item) else value
        return self._values[version]


def _is_plain(type_: str) -> bool:
    module, _, name = type_.partition(":")
    if module == "builtins":
        return name in ("int", "float", "str", "bool", "NoneType")
    return module == "numpy" and name.rstrip("0123456789_").removeprefix("u") in (
        "int",
        "float",
        "bool",
        "str",
    )
