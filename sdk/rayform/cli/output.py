"""What commands print: tables for people, JSON for programs.

Rayform prints its own tables because importing rich takes 90 ms, a third of what `rayform runs list` may take. The
printer fits a table to the terminal by shortening the least important columns, so that the status is always visible.
"""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

import click

from rayform_core.secret_rules import masked
from rayform_core.terminal import escaped_json, printable

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Page

__all__ = [
    "DROPPED",
    "Column",
    "Json",
    "echo",
    "emit_list",
    "emit_page",
    "human_duration",
    "human_time",
    "json_option",
    "metadata_text",
    "plain",
    "plain_fields",
    "print_json",
    "print_pairs",
    "print_table",
    "secho",
    "styled_status",
    "use_colour",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
R = TypeVar("R")
T = TypeVar("T")

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
"""From this `Column.shrink` on, a column is left out if the terminal is too narrow."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Args:
        title: its heading.
        value: returns the cell's text for an item.
        shrink: columns with the highest number are shortened first if the terminal is too narrow; 0 is never
            shortened, and from `DROPPED` on the column is left out instead.
        right: align it to the right, for numbers.
    """

    title: str
    value: Callable[[T], str]
    shrink: int = 0
    right: bool = False


def json_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--json` and `-o table|json` to a command; it receives the argument `json_wanted`."""

    @functools.wraps(command)
    def with_choice(*args: object, json_flag: bool, output_format: str, **kwargs: object) -> R:
        return command(*args, json_wanted=json_flag or output_format == "json", **kwargs)

    formats = click.Choice(["table", "json"])
    with_option = click.option(
        "-o",
        "--output",
        "output_format",
        type=formats,
        default="table",
        show_default=True,
        help="Output format.",
    )(with_choice)
    return click.option("--json", "json_flag", is_flag=True, help="Print JSON; the same as -o json.")(
        with_option
    )


def use_colour() -> bool:
    """Whether to print in colour: on terminals, unless `NO_COLOR` is set; everywhere if `FORCE_COLOR` is set."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def echo(
    text: object = "", *, err: bool = False, nl: bool = True, color: bool | None = None, raw: bool = False
) -> None:
    """Print text; what is no colour among its control characters is written out (`rayform_core.terminal`).

    All commands print through this function, because most text comes from steps, catalogs or clouds.

    Args:
        text: the text.
        err: print to standard error.
        nl: end with a line break.
        color: keep colours; by default on terminals.
        raw: print the text as it is.
    """
    if raw:
        click.echo(str(text), err=err, nl=nl, color=True)
    else:
        click.echo(printable(str(text)), err=err, nl=nl, color=color)


def secho(text: object, *, fg: str, bold: bool = False, err: bool = False) -> None:
    """Print text in a colour; see `echo`."""
    echo(click.style(str(text), fg=fg, bold=bold), err=err)


def styled_status(status: str) -> str:
    """Return a status, in its colour if `use_colour` says so."""
    colour = _STATUS_COLOURS.get(status)
    return click.style(status, fg=colour) if colour and use_colour() else status


def human_time(moment: datetime | None, *, seconds: bool = True) -> str:
    """Return a moment in local time, with or without seconds."""
    if moment is None:
        return "-"
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone().strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def human_duration(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took, such as `1m 05s`; up to now if it hasn't ended."""
    if start is None:
        return "-"
    seconds = ((end or datetime.now(start.tzinfo)) - start).total_seconds()
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def plain(value: object) -> Json:
    """Turn records, UUIDs, dates, typed metadata and similar values into JSON types."""
    if isinstance(value, Mapping):
        items = {str(plain(key)): plain(item) for key, item in value.items()}
        return {name: cast(Json, masked(name, item)) for name, item in items.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value)
    return _plain_scalar(value)


def plain_fields(record: object) -> dict[str, Json]:
    """Return the fields of a dataclass as JSON types."""
    assert is_dataclass(record)
    return {field.name: plain(getattr(record, field.name)) for field in fields(record)}


def _plain_scalar(value: object) -> Json:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def metadata_text(metadata: Mapping[str, object]) -> str:
    """Return metadata as lines of `key: value`; a value longer than 500 characters is cut."""
    lines = []
    for key, value in metadata.items():
        json_value = masked(key, plain(value))
        text = json_value if isinstance(json_value, str) else json.dumps(json_value, ensure_ascii=False)
        lines.append(f"{key}: {text if len(text) <= 500 else text[:499] + '…'}")
    return "\n".join(lines)


def print_json(value: object) -> None:
    """Print a value as JSON; characters that a terminal obeys, or that UTF-8 lacks, are escaped."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    click.echo(escaped_json(text))


def emit_list(
    items: Sequence[T],
    columns: Sequence[Column[T]],
    *,
    json_wanted: bool,
    empty: str = "Nothing found.",
) -> None:
    """Print a whole list as its only page; see `emit_page`."""
    if json_wanted:
        count = len(items)
        print_json({"items": plain(items), "page": 1, "size": count, "total": count})
    elif items:
        print_table(items, columns)
    else:
        echo(empty, err=True)


def emit_page(
    page: Page[T],
    columns: Sequence[Column[T]],
    *,
    json_wanted: bool,
    to_plain: Callable[[T], Json] = plain,
    empty: str,
) -> None:
    """Print one page of a list: a table, or `{"items": […], "page": …, "size": …, "total": …}`.

    Args:
        page: the items to print, and how many there are on all pages.
        columns: the table's columns.
        json_wanted: print JSON.
        to_plain: turns an item into JSON types.
        empty: printed to standard error instead of an empty table.
    """
    if json_wanted:
        items = [to_plain(item) for item in page.items]
        print_json({"items": items, "page": page.page, "size": page.size, "total": page.total})
    elif page.items:
        print_table(page.items, columns)
        if page.total > len(page.items):
            echo(
                f"Page {page.page} of {page.pages}, {page.total} in all (--page, --size, --filter).", err=True
            )
    elif page.total:
        echo(f"There is no page {page.page}: the last one is {page.pages}.", err=True)
    else:
        echo(empty, err=True)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print lines of `key  value` with aligned values; pairs without a value are left out."""
    rows = [(printable(key, colours=False), printable(text)) for key, text in pairs if text != ""]
    width = max((_width(key) for key, _ in rows), default=0)
    for key, text in rows:
        first, *rest = text.split("\n")
        echo(_bold(key) + " " * (width - _width(key) + 2) + first, color=use_colour())
        for line in rest:
            echo(" " * (width + 2) + line, color=use_colour())


def print_table(items: Sequence[T], columns: Sequence[Column[T]]) -> None:
    """Print a table that fits the terminal."""
    cells = [[_one_line(column.value(item)) for column in columns] for item in items]
    widths = [
        max(len(column.title), *(_width(row[index]) for row in cells)) for index, column in enumerate(columns)
    ]
    _fit(widths, columns)
    echo(_bold(_line([column.title for column in columns], widths, columns)), color=use_colour())
    for row in cells:
        echo(_coloured(_line(row, widths, columns), row, columns), color=use_colour())


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column[T]]) -> str:
    parts = []
    for text, width, column in zip(row, widths, columns, strict=True):
        if width:
            text = _shorten(text, width)
            padding = " " * (width - _width(text))
            parts.append(padding + text if column.right else text + padding)
    return "  ".join(parts).rstrip()


def _coloured(line: str, row: Sequence[str], columns: Sequence[Column[T]]) -> str:
    if use_colour():
        for text, column in zip(row, columns, strict=True):
            if column.title in ("status", "stage") and text in _STATUS_COLOURS:
                return line.replace(text, styled_status(text), 1) if line.count(text) == 1 else line
    return line


def _fit(widths: list[int], columns: Sequence[Column[T]]) -> None:
    """Shorten columns until the table fits; those with the highest `shrink` first."""
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
    """Return the terminal's width, or `None` if a file or a program reads the table."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size((80, 24)).columns
    return None


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()) if any(c in text for c in "\n\r\t") else text, colours=False)


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
