"""Turns a `Query` into SQL: only fields of the list, every value bound, the same meaning on both databases.

A `Listing` says what one list can be filtered and sorted by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from rayform_core.errors import UsageError, nearest
from rayform_runtime.catalog.entities import Query, Subject
from rayform_runtime.catalog.metadata import sortable
from rayform_runtime.catalog.sql.database import Database, StoredId

__all__ = ["MAX_PAGE_SIZE", "Field", "Kind", "Listing", "Where", "compile_order", "compile_where", "id_range"]

MAX_PAGE_SIZE = 10_000
METADATA = "metadata."
_SQL_OPERATORS = {"eq": "=", "ne": "<>", "gte": ">=", "lte": "<=", "gt": ">", "lt": "<"}
OPERATORS = (*_SQL_OPERATORS, "contains", "startswith")
_COMPARISONS = {"ne", "gte", "lte", "gt", "lt"}
_Test = Callable[[str, object], "Where"]


class Kind(StrEnum):
    """The type of a field's values."""

    TEXT = "text"
    NUMBER = "number"
    MOMENT = "moment"
    ID = "ID"
    BOOL = "bool"


class Field(NamedTuple):
    """A column that can be filtered and sorted by; `sql` names it."""

    sql: str
    kind: Kind = Kind.TEXT
    nullable: bool = False


class Where(NamedTuple):
    """A condition and the values of its marks; `scans` says that no index answers it, since it looks inside of text."""

    sql: str
    values: tuple[object, ...] = ()
    scans: bool = False


class Listing(NamedTuple):
    """What one list can be filtered and sorted by.

    Args:
        what: the list's items in words, for errors.
        id: the column of their IDs.
        fields: columns, for filtering and sorting.
        subject: the subject whose tags the items have, or `None` if they have none.
        metadata: the column of their metadata, or `None` if they have none.
        within: conditions on other tables, for filtering: a template with one `{}` for the test of the field.
        sorted_by: columns that are for sorting only, because a condition in `within` filters faster.
    """

    what: str
    id: str
    fields: Mapping[str, Field]
    subject: Subject | None = None
    metadata: str | None = None
    within: Mapping[str, tuple[str, Field]] = MappingProxyType({})
    sorted_by: Mapping[str, Field] = MappingProxyType({})

    @property
    def names(self) -> list[str]:
        """All names that can be filtered by."""
        names = [*self.fields, *self.within]
        return names + (["tag"] if self.subject else []) + ([METADATA + "<key>"] if self.metadata else [])


def compile_where(query: Query, listing: Listing, database: Database) -> Where:
    """Return the ` WHERE …` of a query's filters, or an empty text if there are none.

    Raises:
        UsageError: a field or a value can't be used; names the nearest field.
    """
    parts: list[Where] = []
    for name, filter in query.filters.items():
        values = list(filter) if isinstance(filter, list | tuple | set | frozenset) else [filter]
        if listing.subject is not None and name in ("tag", "tags"):
            parts += [_tag(value, listing, database) for value in values]
        else:
            test = _test_of(name, listing, database)
            parts += _combined([_split(value) for value in values], test)
    if not parts:
        return Where("")
    return Where(
        " WHERE " + " AND ".join(f"({part.sql})" for part in parts),
        tuple(value for part in parts for value in part.values),
        any(part.scans for part in parts),
    )


_LARGEST_OFFSET = 2**62
"""Rows; databases count in 64 bits. No list is as long, so a page behind it is as empty as that page."""


def compile_order(query: Query, listing: Listing) -> str:
    """Return the `ORDER BY` and `LIMIT` of a query; IDs break ties, so pages never overlap.

    Raises:
        UsageError: there is no such field, or page or size are out of range.
    """
    descending = query.order.startswith("-")
    name = query.order.removeprefix("-").removeprefix("+")
    fields = {**listing.fields, **listing.sorted_by}
    if name not in fields:
        raise _unknown(name, list(fields), f"{listing.what} can't be sorted by")
    if not 1 <= query.size <= MAX_PAGE_SIZE:
        raise UsageError(f"A page can't have {query.size} items.", hint=f"Ask for 1 to {MAX_PAGE_SIZE:,}.")
    if query.page < 1:
        raise UsageError(f"There is no page {query.page}.", hint="Pages count from 1.")
    entry = fields[name]
    direction = "DESC" if descending else "ASC"
    nulls = "" if not entry.nullable else (" NULLS LAST" if descending else " NULLS FIRST")
    tie = "" if entry.sql == listing.id else f", {listing.id} {direction}"
    return (
        f" ORDER BY {entry.sql} {direction}{nulls}{tie} "
        f"LIMIT {int(query.size)} OFFSET {min((int(query.page) - 1) * int(query.size), _LARGEST_OFFSET)}"
    )


def id_range(prefix: str, database: Database) -> tuple[StoredId, StoredId] | None:
    """Return the first and the last ID that start with this text, or `None` if none can; dashes don't count."""
    digits = prefix.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        return None
    first, last = (UUID(hex=digits.ljust(32, fill)) for fill in "0f")
    return database.put_id(first), database.put_id(last)


def _unknown(name: str, names: list[str], message: str) -> UsageError:
    close = nearest(name, names)
    hint = f"Did you mean {' or '.join(repr(n) for n in close)}? " if close else ""
    return UsageError(f"{message} '{name}'.", hint=f"{hint}Fields: {', '.join(names)}.")


def _split(value: object) -> tuple[str, object]:
    if type(value) is str:
        operator, colon, operand = value.partition(":")
        if colon and operator in OPERATORS:
            return operator, operand
    return "eq", value


def _combined(values: list[tuple[str, object]], test: _Test) -> list[Where]:
    """One of the plain values must match, and each comparison must hold: `["gte:2", "lt:5"]` is a range."""
    parts = [test(operator, value) for operator, value in values if operator in _COMPARISONS]
    alternatives = [test(operator, value) for operator, value in values if operator not in _COMPARISONS]
    return [*parts, _any(alternatives)] if alternatives or not parts else parts


def _any(parts: list[Where]) -> Where:
    if not parts:
        return Where("1 = 0")
    return Where(
        " OR ".join(part.sql for part in parts),
        tuple(value for part in parts for value in part.values),
        any(part.scans for part in parts),
    )


def _test_of(name: str, listing: Listing, database: Database) -> _Test:
    if entry := listing.fields.get(name):
        return lambda operator, value: _compare(name, entry, operator, value, database)
    if name in listing.within:
        template, inner = listing.within[name]

        def test(operator: str, value: object) -> Where:
            # "Not linked to X" means that a link to X is absent, not that there is a link to something else.
            negated = operator == "ne"
            comparison = _compare(name, inner, "eq" if negated else operator, value, database)
            return Where(("NOT " if negated else "") + template.format(comparison.sql), comparison.values)

        return test
    if listing.metadata and name.startswith(METADATA) and len(name) > len(METADATA):
        column, key = listing.metadata, name.removeprefix(METADATA)
        return lambda operator, value: _metadata(column, key, operator, value, database)
    raise _unknown(name, listing.names, f"{listing.what} can't be filtered by")


def _tag(value: object, listing: Listing, database: Database) -> Where:
    operator, text = _split(value)
    test = _compare("tag", Field("t.tag"), "eq" if operator == "ne" else operator, text, database)
    return Where(
        f"{listing.id} {'NOT ' if operator == 'ne' else ''}IN "
        f"(SELECT t.subject_id FROM tags t WHERE t.subject = '{listing.subject}' AND {test.sql})",
        test.values,
    )


def _compare(name: str, entry: Field, operator: str, value: object, database: Database) -> Where:
    column = entry.sql
    if value is None:
        if operator not in ("eq", "ne"):
            raise UsageError(f"'{operator}:' needs a value.", hint=f"Give filter '{name}' one.")
        return Where(f"{column} IS {'NOT ' if operator == 'ne' else ''}NULL")
    if entry.kind == Kind.ID:
        return _compare_id(name, entry, operator, value, database)
    if operator in ("contains", "startswith"):
        if entry.kind != Kind.TEXT:
            raise UsageError(f"'{name}' is a {entry.kind}: '{operator}:' doesn't apply.")
        return _part_of_text(column, operator, _text(name, value), database)
    parsed = _PARSERS[entry.kind](name, value)
    if operator == "ne" and entry.nullable:
        return Where(f"({column} <> ? OR {column} IS NULL)", (parsed,))
    return Where(f"{column} {_SQL_OPERATORS[operator]} ?", (parsed,))


def _part_of_text(column: str, operator: str, text: str, database: Database) -> Where:
    # Not LIKE: for it % and _ are wildcards, and SQLite's ignores case.
    if operator == "startswith":
        return Where(f"substr({column}, 1, {len(text)}) = ?", (text,))
    find = "instr" if database.name == "sqlite" else "strpos"
    return Where(f"{find}({column}, ?) > 0", (text,), scans=True)


def _compare_id(name: str, entry: Field, operator: str, value: object, database: Database) -> Where:
    ids = (database.put_id(value),) * 2 if isinstance(value, UUID) else id_range(str(value), database)
    if ids is None or operator not in ("eq", "ne", "startswith"):
        raise UsageError(
            f"'{name}' can't be compared with '{operator}:{value}'.", hint="Give an ID or the start of one."
        )
    if operator == "eq" and isinstance(value, UUID):
        return Where(
            f"{entry.sql} = ?", ids[:1]
        )  # an index on it and on the order answers this, but no range
    if operator == "ne":
        also = f" OR {entry.sql} IS NULL" if entry.nullable else ""
        return Where(f"({entry.sql} < ? OR {entry.sql} > ?{also})", ids)
    return Where(f"({entry.sql} >= ? AND {entry.sql} <= ?)", ids)


def _number(name: str, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _not_a(name, value, "a number")
    try:
        parsed: int | float = int(value) if not isinstance(value, float) else value
    except ValueError:
        try:
            parsed = float(value)
        except ValueError:
            raise _not_a(name, value, "a number") from None
    # A driver takes 64 bits. No column holds more, so the nearest float compares the same.
    return parsed if isinstance(parsed, float) or abs(parsed) < 2**63 else float(parsed)


def _moment(name: str, value: object) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _not_a(name, value, "a time such as 2026-01-31 or 2026-01-31T12:00:00+00:00") from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise _not_a(name, value, "a time")
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    since: timedelta = value - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _bool(name: str, value: object) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    truth = words.get(str(value).casefold())
    if truth is None:
        raise _not_a(name, value, "true or false")
    return truth


def _text(name: str, value: object) -> str:
    if not isinstance(value, str | int | float | UUID):
        raise _not_a(name, value, "text")
    text = str(value)
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise _not_a(name, value, "text without NUL and lone surrogates, which no database stores")
    return text


def _not_a(name: str, value: object, what: str) -> UsageError:
    return UsageError(f"'{name}' can't be compared with {value!r:.100}.", why=f"It is compared with {what}.")


_PARSERS: dict[Kind, Callable[[str, object], object]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.MOMENT: _moment,
    Kind.BOOL: _bool,
}


# x is the value itself, taken out of its typed object if it is in one; t is its JSON type.
_SQLITE_VALUE = """EXISTS (SELECT 1 FROM (SELECT
 CASE WHEN j.type = 'object' THEN json_extract(j.value, '$.value') ELSE j.value END AS x,
 CASE WHEN j.type <> 'object' THEN j.type WHEN json_extract(j.value, '$."$type"') IS NULL THEN 'object'
 ELSE json_type(j.value, '$.value') END AS t
 FROM json_each({column}) j WHERE j.key = ?) AS held WHERE {test})"""
_POSTGRES_VALUE = """EXISTS (SELECT 1 FROM (SELECT
 CASE json_typeof(j.value) WHEN 'object' THEN j.value ->> 'value' ELSE j.value #>> '{{}}' END COLLATE "C" AS x,
 CASE WHEN json_typeof(j.value) <> 'object' THEN json_typeof(j.value) WHEN j.value ->> '$type' IS NULL THEN 'object'
 ELSE json_typeof(j.value -> 'value') END AS t
 FROM json_each({column}) j WHERE j.key = ?) AS held WHERE {test})"""


def _metadata(column: str, key: str, operator: str, value: object, database: Database) -> Where:
    tests = _metadata_tests(key, operator, value, database)
    test = _any([Where(f"({test.sql})", test.values) for test in tests])
    template = _SQLITE_VALUE if database.name == "sqlite" else _POSTGRES_VALUE
    return Where(template.format(column=column, test=test.sql), (key.replace("\0", "\ufffd"), *test.values))


def _metadata_tests(key: str, operator: str, value: object, database: Database) -> list[Where]:
    """Return the tests of which one must hold for a metadata value.

    A string also stands for the number or the bool that it spells, since a command line has only strings.
    """
    sqlite = database.name == "sqlite"
    is_text = f"t = '{'text' if sqlite else 'string'}'"
    if operator in ("contains", "startswith"):
        part = _part_of_text("x", operator, _text(key, value), database)
        return [Where(f"{is_text} AND {part.sql}", part.values)]
    sign = _SQL_OPERATORS[operator]
    if value is None:
        return [Where(f"t {sign} 'null'")] if operator in ("eq", "ne") else []
    if isinstance(value, bool):
        return _bool_tests(operator, value, sqlite)
    if isinstance(value, int | float):
        return _number_tests(key, operator, value, sqlite)
    tests: list[Where] = []
    if isinstance(value, str):
        if value in ("true", "false"):
            tests += _bool_tests(operator, value == "true", sqlite)
        tests += _number_tests(key, operator, value, sqlite)
    elif isinstance(value, date):
        value = sortable(value)
    return [*tests, Where(f"{is_text} AND x {sign} ?", (_text(key, value),))]


def _bool_tests(operator: str, truth: bool, sqlite: bool) -> list[Where]:
    if operator not in ("eq", "ne"):
        return []
    word = str(truth == (operator == "eq")).lower()
    return [Where(f"t = '{word}'" if sqlite else f"t = 'boolean' AND x = '{word}'")]


def _number_tests(key: str, operator: str, value: int | float | str, sqlite: bool) -> list[Where]:
    try:
        number = _number(key, value)
    except UsageError:
        return []
    if math.isnan(number):
        return []  # it equals nothing
    sign = _SQL_OPERATORS[operator]
    if sqlite:
        return [Where(f"t IN ('integer', 'real') AND x {sign} ?", (number,))]
    return [Where(f"CASE WHEN t = 'number' THEN CAST(x AS numeric) {sign} ? END", (number,))]
