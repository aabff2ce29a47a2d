"""What a page needs to answer a request: the stack's client, the address of other pages, the renderer."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from rayform.reading.client import Client
from rayform.reading.filters import parse_filters
from rayform.stacks import stack_names
from rayform_core.errors import NotFoundError, UsageError
from rayform_core.version import __version__
from rayform_server import formats
from rayform_server.security import FORM_FIELD

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Query, Run

__all__ = [
    "STATIC",
    "ListState",
    "Place",
    "address",
    "client_of",
    "number_of",
    "page",
    "render",
    "run_address",
]

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*", re.ASCII)


@cache
def static_version() -> str:
    """Return a digest of our static files; part of their addresses, so that browsers may keep them."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        moment=formats.moment,
        duration=formats.duration,
        size=formats.size,
        short=formats.short,
        pretty=formats.json_text,
    )
    environment.globals.update(
        symbol=formats.symbol,
        took=formats.took,
        form_field=FORM_FIELD,
        rayform_version=__version__,
        static=lambda path: f"/static/{static_version()}/{path}",
    )
    return environment


def render(template: str, **values: object) -> str:
    """Render a template; everything that is inserted is escaped."""
    return _environment().get_template(template).render(**values)


@dataclass(frozen=True, slots=True)
class Place:
    """Which stack a request is about, and the addresses of pages of that stack.

    Args:
        stack: the stack's name.
        default: the stack that the dashboard shows by default; its addresses need no `?stack=`.
    """

    stack: str
    default: str

    def link(self, path: str, **query: object) -> str:
        """Return a page's address; parameters that are `None` are left out."""
        if self.stack != self.default:
            query = {**query, "stack": self.stack}
        return address(path, query)

    def run(self, run: Run, tab: str = "", **query: object) -> str:
        """Return the address of a run's page."""
        return self.link(run_address(run.name, str(run.id)) + (f"/{tab}" if tab else ""), **query)


def run_address(name: str, id: str) -> str:
    """Return the path of a run's page: with its name if that can stand in a path, else with its ID."""
    return f"/runs/{name if _PLAIN_NAME.fullmatch(name) else id}"


def address(path: str, query: Mapping[str, object]) -> str:
    """Return a path with a query."""
    pairs = [
        (key, item)
        for key, value in query.items()
        if value is not None
        for item in (value if isinstance(value, list | tuple) else [value])
    ]
    return quote(path, safe="/") + (f"?{urlencode(pairs)}" if pairs else "")


def place_of(request: Request) -> Place:
    """Return the stack of a request.

    Raises:
        NotFoundError: there is no such stack.
    """
    default: str = request.app.state.stack
    name = request.query_params.get("stack", default)
    if name != default and name not in (names := stack_names()):
        raise NotFoundError("stack", name, known=names)
    return Place(name, default)


def client_of(request: Request) -> Client:
    """Return a client of the request's stack, once runs whose process died are marked."""
    from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

    client = Client(place_of(request).stack)
    mark_dead_runs(client.catalog)
    return client


def page(
    request: Request,
    template: str,
    shared: Mapping[str, object] | None = None,
    *,
    status: int = 200,
    **values: object,
) -> HTMLResponse:
    """Answer with a page.

    Args:
        request: what is answered.
        template: the page's template.
        shared: values that several pages of one subject share.
        status: the HTTP status.
        values: the page's own values.
    """
    place = Place(request.query_params.get("stack", request.app.state.stack), request.app.state.stack)
    text = render(
        template,
        place=place,
        path=request.url.path,
        stacks=stack_names(),
        form_token=request.state.form_token,
        message=request.query_params.get("message", "")[:300],
        **(shared or {}),
        **values,
    )
    return HTMLResponse(text, status_code=status)


@dataclass(frozen=True, slots=True)
class ListState:
    """A list's filters, order and page, as they stand in its address and in its command.

    Args:
        path: the list's path.
        command_words: the command that prints the same list.
        place: its stack.
        filters: texts such as `status=failed`.
        sort: the field to sort by, with `-` before it for descending order.
        number: which page, from 1.
        size: items on a page.
    """

    path: str
    command_words: str
    place: Place
    filters: tuple[str, ...] = ()
    sort: str = "-created_at"
    number: int = 1
    size: int = 50

    @classmethod
    def of(cls, request: Request, command: str, *, size: int = 50) -> ListState:
        """Read the state from a request's address.

        Raises:
            UsageError: the page's number isn't one.
        """
        query = request.query_params
        number, wanted = query.get("page", "1"), query.get("size", str(size))
        if not (number.isascii() and number.isdigit() and wanted.isascii() and wanted.isdigit()):
            raise UsageError("A page's number and size are whole numbers.", hint="Open the list again.")
        return cls(
            request.url.path,
            command,
            place_of(request),
            tuple(text for text in query.getlist("filter") if text.strip()),
            query.get("sort", "-created_at"),
            int(number[:9]),
            min(int(wanted[:9]), 500),
        )

    def query(self, also: Mapping[str, object] | None = None, *, hydrate: bool = False) -> Query:
        """Return the catalog's query.

        Raises:
            UsageError: a filter can't be read.
        """
        from rayform_runtime.catalog.entities import Query

        filters = {**parse_filters(self.filters), **(also or {})}
        return Query(filters=filters, order=self.sort, page=self.number, size=self.size, hydrate=hydrate)

    @property
    def address(self) -> str:
        """The list's own address."""
        return self.place.link(
            self.path,
            filter=self.filters,
            sort=None if self.sort == "-created_at" else self.sort,
            page=None if self.number == 1 else self.number,
            size=None if self.size == 50 else self.size,
        )

    @property
    def command(self) -> str:
        """The command that prints this list."""
        words = [*self.command_words.split()]
        for text in self.filters:
            words += ["--filter", text]
        if self.sort != "-created_at":
            words += ["--sort", self.sort]
        if self.number != 1:
            words += ["--page", str(self.number)]
        if self.size != 20:
            words += ["--size", str(self.size)]
        if self.place.stack != self.place.default:
            words += ["--stack", self.place.stack]
        return shlex.join(words)

    def without(self, filter: str) -> str:
        """Return the address of the list without one filter."""
        return replace(self, filters=tuple(f for f in self.filters if f != filter), number=1).address

    def only(self, *filters: str) -> str:
        """Return the address of the list with these filters instead."""
        return replace(self, filters=filters, number=1).address

    def sorted_by(self, field: str) -> str:
        """Return the address of the list in the order of a field, or in the opposite one if it is sorted by it."""
        sort = f"-{field}" if self.sort == field else field
        if self.sort.removeprefix("-") != field and field in ("created_at", "started_at", "runs"):
            sort = f"-{field}"
        return replace(self, sort=sort, number=1).address

    def at(self, number: int) -> str:
        """Return the address of another page of the list."""
        return replace(self, number=number).address


def number_of(request: Request, name: str, default: int) -> int:
    """Return a whole number of a request's address, such as the first item that is shown.

    Raises:
        UsageError: it isn't one.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UsageError(f"'{name}' is a whole number.", hint="Open the page again.")
    return int(text)
