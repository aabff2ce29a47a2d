"""How values look on a page: times, durations, sizes, statuses, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from enum import Enum

__all__ = ["duration", "json_text", "moment", "short", "size", "symbol", "took"]

_SYMBOLS = {
    "completed": "✓", "cached": "↺", "running": "▶", "initializing": "…", "retrying": "↻", "failed": "✕",
    "interrupted": "!", "stopped": "■", "skipped": "–", "pending": "○",
    "production": "★", "staging": "◆", "archived": "▽", "none": "·",
}  # fmt: skip
"""A shape for each status and stage, since colour alone tells nothing to many people."""


def symbol(status: str) -> str:
    """Return the sign of a status or a stage."""
    return _SYMBOLS.get(status, "?")


def moment(at: datetime | None) -> str:
    """Return a moment in this machine's time zone."""
    return "–" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Return a time span such as `1m 05s`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def took(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from `start` to `end`; up to now if it hasn't ended."""
    return None if start is None else ((end or datetime.now(UTC)) - start).total_seconds()


def size(count: int) -> str:
    """Return a number of bytes such as `1.2 MB`."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def short(value: object, length: int = 200) -> str:
    """Return a value as one line of text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json_text(value, indent=None)
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def json_text(value: object, indent: int | None = 2) -> str:
    """Return a value of the catalog as JSON text."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
