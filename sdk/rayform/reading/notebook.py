"""Text and HTML of views, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

__all__ = ["html_pairs", "html_table", "text_pairs"]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).strftime("%Y-%m-%d %H:%M:%S %Z")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)


def text_pairs(title: str, pairs: Mapping[str, object]) -> str:
    """Return `Title(key=value, …)` without the empty values."""
    fields = (
        f"{key.replace(' ', '_')}={_text(value)!r}"
        for key, value in pairs.items()
        if value not in (None, [], {})
    )
    return f"{title}({', '.join(fields)})"


def html_pairs(title: str, pairs: Mapping[str, object]) -> str:
    """Return one item as an HTML table of two columns; everything is escaped."""
    from html import escape  # only notebooks need it

    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th {left}>{escape(key)}</th><td {left}>{escape(_text(value))}</td></tr>"
        for key, value in pairs.items()
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{rows}</tbody></table>"


def html_table(title: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Return several items as an HTML table; everything is escaped."""
    from html import escape

    if not rows:
        return f"<p>{escape(title)}</p>"
    head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
