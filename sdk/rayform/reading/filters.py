"""The language of filters, such as `status=failed` or `name~=train`, on the command line and in the dashboard."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rayform_core.errors import UsageError

__all__ = ["parse_filters"]

_OPERATORS = {">=": "gte:", "<=": "lte:", "!=": "ne:", "~=": "contains:", ">": "gt:", "<": "lt:", "=": ""}
_FILTER = re.compile(r"([A-Za-z_][\w.\-]*)\s*(>=|<=|!=|~=|=|>|<)(.*)", re.DOTALL)


def parse_filters(texts: Sequence[str]) -> dict[str, str | list[str]]:
    """Turn `key=value` arguments into the filters of a `Query`.

    `=` asks for the value, or for one of several separated by commas; `!=`, `>`, `>=`, `<`, `<=` compare; `~=` asks
    whether the text is contained.

    Raises:
        UsageError: an argument has no operator, or repeats a key.
    """
    filters: dict[str, str | list[str]] = {}
    for text in texts:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise UsageError(
                f"'{text}' is not a valid filter.", hint="Write key=value, for instance status=failed."
            )
        key, operator, value = match[1], match[2], match[3].strip()
        condition: str | list[str] = _OPERATORS[operator] + value
        if operator == "=" and "," in value:
            condition = [part.strip() for part in value.split(",") if part.strip()]
        if key == "tag" and key in filters:
            condition = [*_as_list(filters[key]), *_as_list(condition)]
        elif key in filters:
            raise UsageError(
                f"The filter '{key}' is given twice.", hint="Give several values with commas: key=a,b."
            )
        filters[key] = condition
    return filters


def _as_list(condition: str | list[str]) -> list[str]:
    return condition if isinstance(condition, list) else [condition]
