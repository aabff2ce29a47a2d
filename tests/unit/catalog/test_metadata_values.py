"""Typed metadata: values come back as they were, and the error of one that can't be stored names its key."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.errors import UsageError
from rayform_runtime.catalog.metadata import (
    MAX_VALUE_BYTES,
    DType,
    Path,
    StorageSize,
    Uri,
    decode,
    decode_json,
    encode,
    encode_json,
    plain,
)

keys = st.text(min_size=1, max_size=20)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=5).map(lambda b: UUID(bytes=b.ljust(16, b"\0"))),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(fold=0)),
    st.datetimes().map(lambda at: at.replace(fold=0)),
    st.dates(),
    st.timedeltas(min_value=timedelta(days=-10_000), max_value=timedelta(days=10_000)),
    st.integers(min_value=0).map(StorageSize),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9).map(Uri),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(keys, st.just("$type")), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_every_value_comes_back_with_its_type(metadata: dict[str, Any]) -> None:
    """Decoding what was encoded gives equal values of the same types, deep inside too."""
    decoded = decode(encode(metadata))
    assert decoded == metadata
    assert repr(decoded) == repr(metadata)


def test_stored_text_is_strict_json_without_nul() -> None:
    """NaN, infinities and NUL are written so that any JSON reader and PostgreSQL take them."""
    text = encode({"nan": math.nan, "inf": math.inf, "nul": "a\0b", "set": {1}})
    assert text is not None
    json.loads(text, parse_constant=lambda _: pytest.fail("not JSON"))
    assert "\\u0000" not in text
    decoded = decode(text)
    assert (
        math.isnan(decoded["nan"])
        and decoded["inf"] == math.inf
        and decoded["nul"] == "a\0b"
        and decoded["set"] == {1}
    )


def test_whole_numbers_of_any_length_come_back() -> None:
    """An integer of more digits than Python writes in decimal is kept, in metadata and in parameters."""
    values = {"large": 10**5000, "list": [1, -(10**6000)]}
    assert decode(encode(values)) == values
    assert decode_json(encode_json(values)) == values


def test_nothing_is_stored_as_nothing() -> None:
    """Empty metadata take no room."""
    assert encode({}) is None and decode(None) == {}
    assert encode_json({}) is None and decode_json(None) is None


def test_relatives_of_known_types_are_kept_as_those() -> None:
    """Enums, NumPy scalars and paths become the plain value that they stand for."""

    class Colour(Enum):
        RED = "red"

    class Word(StrEnum):
        A = "a"

    class Number(IntEnum):
        ONE = 1

    metadata = {
        "enum": Colour.RED,
        "word": Word.A,
        "number": Number.ONE,
        "np": np.float32(0.5),
        "np0": np.array(3),
        "path": PurePosixPath("/x"),
        "zone": datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    }
    decoded = decode(encode(metadata))
    assert decoded == {
        "enum": "red",
        "word": "a",
        "number": 1,
        "np": 0.5,
        "np0": 3,
        "path": "/x",
        "zone": datetime(2026, 1, 1, 10, tzinfo=UTC),
    }
    assert type(decoded["path"]) is Path


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "builtins.object"),
        (b"x", "builtins.bytes"),
        (Decimal(1), "decimal.Decimal"),
        ([{"a": 1j}], "complex"),
    ],
)
def test_other_types_are_refused_by_key_and_type(value: Any, kind: str) -> None:
    """The error names the key, the type and what can be kept."""
    with pytest.raises(UsageError) as caught:
        encode({"fine": 1, "bad key": value})
    assert "'bad key'" in str(caught.value) and kind in str(caught.value)


def test_values_that_are_too_large_or_endless_are_refused() -> None:
    """A value over the limit, and one that contains itself, name their key."""
    with pytest.raises(UsageError, match=f"'big' is too large.*{MAX_VALUE_BYTES:,}"):
        encode({"big": "x" * MAX_VALUE_BYTES})
    assert encode({"fits": "x" * (MAX_VALUE_BYTES - 2)})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UsageError, match="'loop'.*contains itself"):
        encode({"loop": endless})


@pytest.mark.parametrize("key", ["", "k" * 256, 3, None])
def test_keys_are_text(key: Any) -> None:
    """A key must be text that is neither empty nor too long."""
    with pytest.raises(UsageError, match="key"):
        encode({key: 1})


def test_what_a_newer_version_wrote_is_shown_as_it_is() -> None:
    """A type that isn't known yet doesn't make a catalog unreadable."""
    assert decode('{"a":{"$type":"quaternion","value":[1,2]}}') == {
        "a": {"$type": "quaternion", "value": [1, 2]}
    }


plain_values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
documents = st.recursive(
    plain_values, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=6
)


@given(documents)
def test_documents_come_back_whole(value: Any) -> None:
    """Parameters and specs, which are plain JSON, survive whatever keys and numbers they hold."""
    assert decode_json(encode_json(value)) == (value or None)


def test_typed_values_have_a_plain_form() -> None:
    """`plain` returns what JSON output and tables can show."""
    assert plain(
        {
            "t": (1, 2),
            "s": {2, 1},
            "d": date(2026, 1, 2),
            "n": math.nan,
            "u": Uri("u"),
            "l": timedelta(seconds=2),
        }
    ) == {"t": [1, 2], "s": [1, 2], "d": "2026-01-02", "n": "nan", "u": "u", "l": 2.0}
    json.dumps(
        plain({"size": StorageSize(3), "dtype": DType("int8"), "id": UUID(int=1), "p": PurePosixPath("/")})
    )
