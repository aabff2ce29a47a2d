"""Options that many commands share: the stack, the page of a list, tags, confirmation."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rayform.cli.names import stack_names
from rayform.cli.output import Column, Json, emit_page, json_option, plain
from rayform.reading.filters import parse_filters
from rayform_core.errors import UsageError
from rayform_core.terminal import printable

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform_runtime.catalog.entities import Page, Query
    from rayform_runtime.catalog.interface import Catalog

__all__ = [
    "LONGEST_AGE",
    "TRUST_HELP",
    "Numbers",
    "PageRequest",
    "confirm",
    "opened_client",
    "page_options",
    "stack_option",
    "tag_options",
    "yes_option",
]

R = TypeVar("R")
T = TypeVar("T")


class Numbers(click.FloatRange):
    """A range of numbers without NaN, which click lets pass, since it is neither too small nor too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


LONGEST_AGE = 36_500
"""Days."""

TRUST_HELP = (
    "Run its code although it wasn't begun on this machine: you trust all who may write to the catalog."
)


def stack_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--stack` to a command; it receives the argument `stack` (`None`: the active stack)."""
    return click.option(
        "--stack",
        "stack",
        metavar="NAME",
        default=None,
        shell_complete=stack_names,
        help="Use this stack instead of the active one.",
    )(command)


@contextmanager
def opened_client(stack: str | None) -> Iterator[Client]:
    """Open a client of a stack (`None`: the active one), and close it at the end.

    First it marks runs as `interrupted` if their process died without recording their end.
    """
    from rayform.reading.client import Client
    from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

    with Client(stack) as client:
        mark_dead_runs(client.catalog)
        yield client


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of a list a command must print, and how.

    Args:
        query: filters, order, page number and page size.
        stack: the stack whose catalog has the list; `None` for the active one.
        json_wanted: print JSON instead of a table.
    """

    query: Query
    stack: str | None
    json_wanted: bool

    def emit(
        self,
        read: Callable[[Catalog, Query], Page[T]],
        columns: Sequence[Column[T]],
        *,
        to_plain: Callable[[T], Json] = plain,
        empty: str,
    ) -> None:
        """Read the page from the catalog and print it; see `emit_page`."""
        with opened_client(self.stack) as client:
            page = read(client.catalog, self.query)
        emit_page(page, columns, json_wanted=self.json_wanted, to_plain=to_plain, empty=empty)


def page_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--filter`, `--sort`, `--page`, `--size`, `--stack` and `--json`; the command receives `request`."""

    @functools.wraps(command)
    def with_request(
        *args: object,
        filters: tuple[str, ...],
        sort: str,
        page: int,
        size: int,
        stack: str | None,
        json_wanted: bool,
        **kwargs: object,
    ) -> R:
        from rayform_runtime.catalog.entities import Query

        query = Query(filters=parse_filters(filters), order=sort, page=page, size=size)
        return command(*args, request=PageRequest(query, stack, json_wanted), **kwargs)

    decorated = stack_option(json_option(with_request))
    for option in (
        click.option(
            "--size", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Items on a page."
        ),
        click.option(
            "--page", type=click.IntRange(min=1), default=1, show_default=True, help="Page to show."
        ),
        click.option(
            "--sort",
            default="-created_at",
            show_default=True,
            metavar="KEY",
            help="Sort by KEY; -KEY sorts in descending order.",
        ),
        click.option(
            "--filter",
            "filters",
            multiple=True,
            metavar="KEY=VALUE",
            help="Show only matching items; also !=, >, >=, <, <= and ~= (contains). May be repeated.",
        ),
    ):
        decorated = option(decorated)
    return decorated


def tag_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--add-tag` and `--remove-tag`; the command receives the arguments `add` and `remove`."""
    remove = click.option(
        "--remove-tag", "remove", multiple=True, metavar="TAG", help="Remove a tag. May be repeated."
    )
    add = click.option("--add-tag", "add", multiple=True, metavar="TAG", help="Add a tag. May be repeated.")
    return add(remove(command))


def yes_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--yes`, which answers the question of `confirm`."""
    return click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")(command)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost.

    Raises:
        UsageError: there is no terminal to ask on and `--yes` wasn't given.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} There is no terminal to ask on.", hint="Add --yes to continue without being asked."
        )
    click.confirm(printable(question), abort=True, err=True)
