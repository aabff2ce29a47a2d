"""Options that many commands share: the stack, filters, order and pages, confirmation."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rayform.cli.names import stack_names
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.reading.client import Client

__all__ = ["confirm", "list_options", "opened_client", "parse_filters", "stack_option", "yes_option"]

R = TypeVar("R")

_OPERATORS = {">=": "gte:", "<=": "lte:", "!=": "ne:", "~=": "contains:", ">": "gt:", "<": "lt:", "=": ""}
_FILTER = re.compile(r"([A-Za-z_][\w.\-]*)\s*(>=|<=|!=|~=|=|>|<)(.*)", re.DOTALL)


def stack_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--stack` to a command, which gets the argument `stack` (`None`: the active one)."""
    return click.option(
        "--stack",
        "stack",
        metavar="NAME",
        default=None,
        shell_complete=stack_names,
        help="Use this stack rather than the active one.",
    )(command)


@contextmanager
def opened_client(stack: str | None) -> Iterator[Client]:
    """Give a client of a stack (the active one for `None`) that is closed afterwards.

    Runs whose process died without saying so are marked as `interrupted` first.
    """
    from rayform.reading.client import Client
    from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

    with Client(stack) as client:
        mark_dead_runs(client.catalog)
        yield client


def parse_filters(given: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` arguments into the filters of a `Query`.

    `=` wants the value, or one of several separated by commas; `!=`, `>`, `>=`, `<`, `<=` compare; `~=` finds
    text in it.

    Raises:
        UsageError: one has no operator.
    """
    filters: dict[str, Any] = {}
    for text in given:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise UsageError(f"'{text}' is no filter.", hint="Write key=value, for instance status=failed.")
        key, operator, value = match[1], match[2], match[3].strip()
        wanted: Any = _OPERATORS[operator] + value
        if operator == "=" and "," in value:
            wanted = [part.strip() for part in value.split(",") if part.strip()]
        if key == "tag" and key in filters:
            earlier = filters[key] if isinstance(filters[key], list) else [filters[key]]
            wanted = [*earlier, *(wanted if isinstance(wanted, list) else [wanted])]
        elif key in filters:
            raise UsageError(
                f"The filter '{key}' is given twice.", hint="Give several values with commas: key=a,b."
            )
        filters[key] = wanted
    return filters


def list_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--filter`, `--sort`, `--page` and `--size`; the command gets them as `query`, a `Query`."""

    @functools.wraps(command)
    def with_query(*args: Any, filters: tuple[str, ...], sort: str, page: int, size: int, **kwargs: Any) -> R:
        from rayform_runtime.catalog.entities import Query

        query = Query(filters=parse_filters(filters), order=sort, page=page, size=size)
        return command(*args, query=query, **kwargs)

    decorated = with_query
    decorated = click.option(
        "--size", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Items on a page."
    )(decorated)
    decorated = click.option(
        "--page", type=click.IntRange(min=1), default=1, show_default=True, help="Page to show."
    )(decorated)
    decorated = click.option(
        "--sort", default="-created_at", show_default=True, metavar="KEY", help="Sort by KEY; -KEY descends."
    )(decorated)
    return click.option(
        "--filter",
        "filters",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only those; also !=, >, >=, <, <= and ~= (contains). May be repeated.",
    )(decorated)


def yes_option(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--yes`, which answers the question of `confirm`."""
    return click.option("-y", "--yes", is_flag=True, help="Don't ask.")(command)


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
            f"{question} There is no terminal to ask on.", hint="Say --yes to go on without asking."
        )
    click.confirm(question, abort=True, err=True)
