"""What commands print: tables for people, JSON for programs.

The table printer is ours because importing rich takes 90 ms, a third of what `rayform runs list` may take. It
fits a table to the terminal by shortening the columns that say least, so that the status is always seen.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

import click

__all__ = [
    "DROPPED",
    "Column",
    "as_json",
    "emit_item",
    "emit_list",
    "human_duration",
    "human_time",
    "json_option",
    "metadata_text",
    "plain",
    "print_pairs",
    "print_table",
    "styled_status",
    "use_colour",
]

R = TypeVar("R")

_STATUS_COLOURS = {
    "completed": "green",
    "cached": "cyan",
    "running": "blue",
    "initializing": "blue",
    "retrying": "yellow",
    "failed": "red",
    "interrupted": "yellow",
    "stopped": "yellow",
    "skipped": "bright_black",
    "production": "green",
    "staging": "cyan",
    "archived": "bright_black",
}


DROPPED = 9
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: its heading.
        value: gives the cell for an item.
        shrink: how willingly it is shortened where the terminal is narrow; 0 never. From `DROPPED` on it is left
            out rather than shortened.
        right: set to the right, as numbers are.
    """

    title: str
    value: Callable[[Any], str]
    shrink: int = 0
    right: bool = False


def json_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--json` and `-o table|json` to a command, which gets the argument `json_wanted`."""

    @functools.wraps(command)
    def with_choice(*args: Any, json_flag: bool, output_format: str, **kwargs: Any) -> R:
        return command(*args, json_wanted=json_flag or output_format == "json", **kwargs)

    formats = click.Choice(["table", "json"])
    with_option = click.option(
        "-o",
        "--output",
        "output_format",
        type=formats,
        default="table",
        show_default=True,
        help="How to print.",
    )(with_choice)
    return click.option("--json", "json_flag", is_flag=True, help="Print JSON; the same as -o json.")(
        with_option
    )


def use_colour() -> bool:
    """Whether standard output is a terminal that wants colour (`NO_COLOR` says no, `FORCE_COLOR` yes)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def styled_status(status: str) -> str:
    """Return a status in its colour, where colour is wanted."""
    colour = _STATUS_COLOURS.get(status)
    return click.style(status, fg=colour) if colour and use_colour() else status


def human_time(moment: datetime | None, *, seconds: bool = True) -> str:
    """Return a moment in local time, to the second, or to the minute."""
    if moment is None:
        return "-"
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone().strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def human_duration(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took, such as `1m 05s`; up to now where it goes on."""
    if start is None:
        return "-"
    seconds = ((end or datetime.now(start.tzinfo)) - start).total_seconds()
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def plain(value: Any) -> Any:
    """Turn records, UUIDs, moments, typed metadata and the like into what JSON has."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as lines of `key: value`, sizes and texts as people read them."""
    lines = []
    for key, value in metadata.items():
        shown = plain(value)
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        lines.append(f"{key}: {text if len(text) <= 500 else text[:499] + '…'}")
    return "\n".join(lines)


def as_json(value: Any) -> None:
    """Print a value as JSON; characters that UTF-8 lacks (half a surrogate pair) are escaped."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    # They only stand within strings, where `\ud83d` means the same.
    click.echo(_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def emit_list(
    items: Sequence[Any],
    columns: Sequence[Column],
    *,
    json_wanted: bool,
    to_plain: Callable[[Any], Any] = plain,
    total: int | None = None,
    page: int = 1,
    size: int | None = None,
    empty: str = "Nothing found.",
) -> None:
    """Print a list: a table, or `{"items": […], "page": …, "size": …, "total": …}`.

    Args:
        items: what to print.
        columns: the table's columns.
        json_wanted: print JSON.
        to_plain: turns an item into what JSON has.
        total: how many there are on all pages.
        page, size: which page this is.
        empty: printed to standard error in place of an empty table.
    """
    total = len(items) if total is None else total
    if json_wanted:
        as_json(
            {"items": [to_plain(i) for i in items], "page": page, "size": size or len(items), "total": total}
        )
        return
    if not items:
        click.echo(empty if total == 0 else f"Page {page} is past the last one ({total} in all).", err=True)
        return
    print_table(items, columns)
    if total > len(items):
        pages = -(-total // (size or len(items)))
        click.echo(f"Page {page} of {pages}, {total} in all (--page, --size, --filter).", err=True)


def emit_item(pairs: Iterable[tuple[str, str]], value: Any, *, json_wanted: bool) -> None:
    """Print one thing: lines of `key  value`, or `value` as JSON."""
    if json_wanted:
        as_json(value)
    else:
        print_pairs(pairs)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print `key  value` lines, values aligned and their further lines indented."""
    rows = [(key, text) for key, text in pairs if text != ""]
    width = max((_width(key) for key, _ in rows), default=0)
    for key, text in rows:
        first, *rest = text.splitlines() or [""]
        click.echo(_bold(key) + " " * (width - _width(key) + 2) + first, color=use_colour())
        for line in rest:
            click.echo(" " * (width + 2) + line, color=use_colour())


def print_table(items: Sequence[Any], columns: Sequence[Column]) -> None:
    """Print a table that fits the terminal."""
    cells = [[_one_line(column.value(item)) for column in columns] for item in items]
    widths = [
        max(len(column.title), *(_width(row[index]) for row in cells)) for index, column in enumerate(columns)
    ]
    _fit(widths, columns)
    titles = [column.title for column in columns]
    for number, row in enumerate([titles, *cells]):
        parts = []
        for text, width, column in zip(row, widths, columns, strict=True):
            if not width:
                continue
            shown = _shorten(text, width)
            padding = " " * (width - _width(shown))
            parts.append(padding + shown if column.right else shown + padding)
        line = "  ".join(parts).rstrip()
        click.echo(_bold(line) if number == 0 else _coloured(line, row, columns), color=use_colour())


def _coloured(line: str, row: Sequence[str], columns: Sequence[Column]) -> str:
    if use_colour():
        for text, column in zip(row, columns, strict=True):
            if column.title in ("status", "stage") and text in _STATUS_COLOURS:
                return line.replace(text, styled_status(text), 1) if line.count(text) == 1 else line
    return line


def _fit(widths: list[int], columns: Sequence[Column]) -> None:
    """Shorten columns, the most willing first, until the table fits."""
    room = _room()
    if room is None:
        return
    for index in sorted(range(len(columns)), key=lambda i: -columns[i].shrink):
        excess = sum(widths) + 2 * (sum(1 for width in widths if width) - 1) - room
        if excess <= 0:
            return
        if columns[index].shrink >= DROPPED:
            widths[index] = 0
        elif columns[index].shrink:
            widths[index] = max(min(widths[index], max(len(columns[index].title), 8)), widths[index] - excess)


def _room() -> int | None:
    """Return the columns there are, or `None` where a file or a program reads the table."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size((80, 24)).columns
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split()) if any(c in text for c in "\n\r\t") else text


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _shorten(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while text and _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _bold(text: str) -> str:
    return click.style(text, bold=True) if use_colour() else text
