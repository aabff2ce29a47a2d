"""Turns a `Query` into SQL: known fields only, every value bound, the same meaning on both databases.

A `Listing` is the table of what one list can be filtered and ordered by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from rayform_core.errors import UsageError, nearest
from rayform_runtime.catalog.entities import Query, Subject
from rayform_runtime.catalog.sql.database import Database, StoredId

__all__ = ["MAX_PAGE_SIZE", "Field", "Kind", "Listing", "Where", "compile_order", "compile_where", "id_range"]

MAX_PAGE_SIZE = 10_000
METADATA = "metadata."
_SQL_OPERATORS = {"eq": "=", "ne": "<>", "gte": ">=", "lte": "<=", "gt": ">", "lt": "<"}
OPERATORS = (*_SQL_OPERATORS, "contains", "startswith")
_COMPARISONS = {"ne", "gte", "lte", "gt", "lt"}
_Test = Callable[[str, object], "Where"]
_OPERATOR = re.compile(rf"({'|'.join(OPERATORS)}):(.*)", re.DOTALL)


class Kind(StrEnum):
    """What a field's values are."""

    TEXT = "text"
    NUMBER = "number"
    MOMENT = "moment"
    ID = "ID"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class Field:
    """A column that can be filtered and sorted by; `sql` names it."""

    sql: str
    kind: Kind = Kind.TEXT
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Where:
    """A condition and the values of its marks."""

    sql: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """What one list knows: its fields, the subject whose tags it has, its metadata's column.

    `within` holds conditions that aren't a comparison of a column: a template with one `{}` for the test of the
    field beside it. `sorted_by` holds columns that are only for sorting, because filtering has a better way.
    """

    what: str
    id: str
    fields: Mapping[str, Field]
    subject: Subject | None = None
    metadata: str | None = None
    within: Mapping[str, tuple[str, Field]] = field(default_factory=dict)
    sorted_by: Mapping[str, Field] = field(default_factory=dict)

    @property
    def known(self) -> list[str]:
        """All names that can be filtered by."""
        names = [*self.fields, *self.within]
        return names + (["tag"] if self.subject else []) + ([METADATA + "<key>"] if self.metadata else [])


def compile_where(query: Query, listing: Listing, database: Database) -> Where:
    """Return the condition that a query's filters make, `Where("TRUE")`-like where there are none.

    Raises:
        UsageError: a field or a value can't be used; names the nearest field.
    """
    parts: list[Where] = []
    for name, wanted in query.filters.items():
        several = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        if listing.subject is not None and name in ("tag", "tags"):
            parts += [_tag(value, listing, database) for value in several]
            continue
        test = _test_of(name, listing, database)
        parts += _combined([_split(value) for value in several], test)
    if not parts:
        return Where("")
    return Where(
        " WHERE " + " AND ".join(f"({part.sql})" for part in parts),
        tuple(value for part in parts for value in part.values),
    )


def compile_order(query: Query, listing: Listing) -> str:
    """Return the `ORDER BY` and `LIMIT` of a query; ties go by ID, so that pages never overlap.

    Raises:
        UsageError: the field is unknown, or page or size are out of range.
    """
    descending = query.order.startswith("-")
    name = query.order.removeprefix("-").removeprefix("+")
    sortable = {**listing.fields, **listing.sorted_by}
    if name not in sortable:
        raise _unknown(name, list(sortable), f"{listing.what} can't be sorted by")
    if not 1 <= query.size <= MAX_PAGE_SIZE:
        raise UsageError(
            f"A page of {query.size} items can't be had.", hint=f"Ask for 1 to {MAX_PAGE_SIZE:,}."
        )
    if query.page < 1:
        raise UsageError(f"There is no page {query.page}.", hint="Pages count from 1.")
    entry = sortable[name]
    direction = "DESC" if descending else "ASC"
    nulls = "" if not entry.nullable else (" NULLS LAST" if descending else " NULLS FIRST")
    tie = "" if entry.sql == listing.id else f", {listing.id} {direction}"
    return (
        f" ORDER BY {entry.sql} {direction}{nulls}{tie} "
        f"LIMIT {int(query.size)} OFFSET {(int(query.page) - 1) * int(query.size)}"
    )


def id_range(prefix: str, database: Database) -> tuple[StoredId, StoredId] | None:
    """Return the first and last ID that start with this text (dashes don't count), or `None`."""
    digits = prefix.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        return None
    first, last = (UUID(hex=digits.ljust(32, fill)) for fill in "0f")
    return database.put_id(first), database.put_id(last)


def _unknown(name: str, known: list[str], message: str) -> UsageError:
    close = nearest(name, known)
    hint = f"Did you mean {' or '.join(repr(n) for n in close)}? " if close else ""
    return UsageError(f"{message} '{name}'.", hint=f"{hint}Fields: {', '.join(known)}.")


def _split(value: object) -> tuple[str, object]:
    if type(value) is str and (match := _OPERATOR.match(value)):
        return match[1], match[2]
    return "eq", value


def _combined(wanted: list[tuple[str, object]], test: _Test) -> list[Where]:
    """Any of the plain values, and all of the comparisons: `["gte:2", "lt:5"]` is a range."""
    parts = [test(operator, value) for operator, value in wanted if operator in _COMPARISONS]
    alternatives = [test(operator, value) for operator, value in wanted if operator not in _COMPARISONS]
    return [*parts, _any(alternatives)] if alternatives or not parts else parts


def _any(parts: list[Where]) -> Where:
    if not parts:
        return Where("1 = 0")
    return Where(
        " OR ".join(part.sql for part in parts), tuple(value for part in parts for value in part.values)
    )


def _test_of(name: str, listing: Listing, database: Database) -> _Test:
    if entry := listing.fields.get(name):
        return lambda operator, value: _compare(name, entry, operator, value, database)
    if name in listing.within:
        template, inner = listing.within[name]

        def test(operator: str, value: object) -> Where:
            # "not linked to X" is the absence of a link to X, not a link to something else.
            negated = operator == "ne"
            found = _compare(name, inner, "eq" if negated else operator, value, database)
            return Where(("NOT " if negated else "") + template.format(found.sql), found.values)

        return test
    if listing.metadata and name.startswith(METADATA) and len(name) > len(METADATA):
        column, key = listing.metadata, name.removeprefix(METADATA)
        return lambda operator, value: _metadata(column, key, operator, value, database)
    raise _unknown(name, listing.known, f"{listing.what} can't be filtered by")


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
            raise UsageError(f"Nothing can be '{operator}:' than no value.", hint=f"Filter '{name}'.")
        return Where(f"{column} IS {'NOT ' if operator == 'ne' else ''}NULL")
    if entry.kind == Kind.ID:
        return _compare_id(name, entry, operator, value, database)
    if operator in ("contains", "startswith"):
        if entry.kind != Kind.TEXT:
            raise UsageError(f"'{name}' is a {entry.kind}, so '{operator}:' doesn't apply.")
        return _part_of_text(column, operator, _text(name, value), database)
    parsed = _PARSERS[entry.kind](name, value)
    if operator == "ne" and entry.nullable:
        return Where(f"({column} <> ? OR {column} IS NULL)", (parsed,))
    return Where(f"{column} {_SQL_OPERATORS[operator]} ?", (parsed,))


def _part_of_text(column: str, operator: str, text: str, database: Database) -> Where:
    # Not LIKE: it takes % and _ for wildcards, and SQLite's ignores case.
    if operator == "startswith":
        return Where(f"substr({column}, 1, {len(text)}) = ?", (text,))
    find = "instr" if database.name == "sqlite" else "strpos"
    return Where(f"{find}({column}, ?) > 0", (text,))


def _compare_id(name: str, entry: Field, operator: str, value: object, database: Database) -> Where:
    found = (
        (database.put_id(value),) * 2
        if isinstance(value, UUID)
        else (id_range(str(value), database) if operator in ("eq", "ne", "startswith") else None)
    )
    if found is None or operator not in ("eq", "ne", "startswith"):
        raise UsageError(
            f"'{name}' can't be compared with '{operator}:{value}'.", hint="Give an ID or the start of one."
        )
    if operator == "ne":
        also = f" OR {entry.sql} IS NULL" if entry.nullable else ""
        return Where(f"({entry.sql} < ? OR {entry.sql} > ?{also})", found)
    return Where(f"({entry.sql} >= ? AND {entry.sql} <= ?)", found)


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
    # What no column can hold compares the same as the nearest float, and fits the driver.
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
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = known.get(str(value).casefold())
    if found is None:
        raise _not_a(name, value, "true or false")
    return found


def _text(name: str, value: object) -> str:
    if not isinstance(value, str | int | float | UUID):
        raise _not_a(name, value, "text")
    text = str(value)
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise _not_a(name, value, "text without NUL and lone surrogates, which no database keeps")
    return text


def _not_a(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"'{name}' can't be compared with {value!r:.100}.", why=f"It takes {wanted}.")


_PARSERS: dict[Kind, Callable[[str, object], object]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.MOMENT: _moment,
    Kind.BOOL: _bool,
}


# x: the value itself, out of the typed object where it is in one; t: its JSON type.
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
    sqlite = database.name == "sqlite"
    parts = _metadata_tests(key, operator, value, sqlite)
    if parts is None:
        test = _part_of_text("x", operator, _text(key, value), database)
        parts = [Where(f"t = '{'text' if sqlite else 'string'}' AND {test.sql}", test.values)]
    if not parts:
        parts = [Where("1 = 0")]
    found = _any([Where(f"({part.sql})", part.values) for part in parts])
    template = _SQLITE_VALUE if sqlite else _POSTGRES_VALUE
    return Where(template.format(column=column, test=found.sql), (key.replace("\0", "\ufffd"), *found.values))


def _metadata_tests(key: str, operator: str, value: object, sqlite: bool) -> list[Where] | None:
    """A string also means the number or the bool that it spells, since that is all a command line can say."""
    from rayform_runtime.catalog.metadata import sortable

    if operator in ("contains", "startswith"):
        return None
    sign = _SQL_OPERATORS[operator]
    parts: list[Where] = []
    if value is None:
        return [Where(f"t {sign} 'null'")] if operator in ("eq", "ne") else []
    if isinstance(value, bool) or (isinstance(value, str) and value in ("true", "false")):
        truth = value if isinstance(value, bool) else value == "true"
        if operator in ("eq", "ne"):
            word = str(truth if operator == "eq" else not truth).lower()
            parts.append(Where(f"t = '{word}'" if sqlite else f"t = 'boolean' AND x = '{word}'"))
        if isinstance(value, bool):
            return parts
    if isinstance(value, int | float | str):
        try:
            number = _number(key, value)
        except UsageError:
            pass
        else:
            if number == number:  # NaN equals nothing
                parts.append(
                    Where(f"t IN ('integer', 'real') AND x {sign} ?", (number,))
                    if sqlite
                    else Where(f"CASE WHEN t = 'number' THEN CAST(x AS numeric) {sign} ? END", (number,))
                )
        if not isinstance(value, str):
            return parts
    if isinstance(value, datetime | date):
        value = sortable(value)
    parts.append(Where(f"t = '{'text' if sqlite else 'string'}' AND x {sign} ?", (_text(key, value),)))
    return parts
