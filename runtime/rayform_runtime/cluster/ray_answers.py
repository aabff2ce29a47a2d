"""Reads the JSON answers of Ray's dashboard, whose fields come and go between versions."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["at", "objects"]


def at(answer: object, *keys: str) -> object:
    """Return the value at a path of keys, or `None` if the answer has none.

    Example:
        >>> at({"data": {"summary": [1]}}, "data", "summary"), at({"data": None}, "data", "summary")
        ([1], None)
    """
    for key in keys:
        answer = answer.get(key) if isinstance(answer, Mapping) else None
    return answer


def objects(answer: object) -> list[Mapping[str, object]]:
    """Return the JSON objects in a list; none if the answer is no list."""
    return [item for item in answer if isinstance(item, Mapping)] if isinstance(answer, list) else []
