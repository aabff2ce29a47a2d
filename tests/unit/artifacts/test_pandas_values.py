"""pandas values come back with every dtype, every kind of index, and every object in their cells."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.extra import pandas as pdst
from support.sameness import assert_same, difference

from rayform_core.errors import RayformError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.materializers import pandas_arrays
from rayform_runtime.artifacts.materializers.pandas_frames import PandasMaterializer
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import save_value

Through = Callable[..., tuple[Any, Any]]

SEARCH = settings(
    max_examples=800,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
BERLIN = "Europe/Berlin"
SURROGATE = "a\ud800"


def _flagged() -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": ("m", 1), "at": dt.date(2024, 1, 1)}
    frame.flags.allows_duplicate_labels = False
    return frame


def _objects(*items: Any) -> pd.Series:
    return pd.Series(list(items), dtype=object)


VALUES: dict[str, Any] = {
    "attrs and flags": _flagged(),
    "arrays in cells": _objects(np.arange(3, dtype="f4"), None, np.arange(2, dtype="f4")),
    "large arrays in cells": _objects(np.zeros((90, 90)), pd.DataFrame({"a": [1]})),
    "arrow": pd.DataFrame(
        {
            "int": pd.array([1, None], dtype="int8[pyarrow]"),
            "seconds": pd.array([dt.datetime(2024, 1, 1), None], dtype=pd.ArrowDtype(pa.timestamp("s"))),
            "zone": pd.array([None, None], dtype=pd.ArrowDtype(pa.timestamp("ns", BERLIN))),
            "decimal": pd.array([decimal.Decimal("1.10"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
            "list": pd.array([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
            "struct": pd.array([{"a": 1}, None], dtype=pd.ArrowDtype(pa.struct([("a", pa.int8())]))),
            "time": pd.array([dt.time(1), None], dtype=pd.ArrowDtype(pa.time32("s"))),
            "null": pd.array([None, None], dtype=pd.ArrowDtype(pa.null())),
            "dictionary": pd.array(["x", "x"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
        }
    ),
    "bytes": _objects(b"a", None),
    "categories": pd.DataFrame(
        {
            "ordered": pd.Categorical(["x", None, "x"], categories=["z", "y", "x"], ordered=True),
            "ints": pd.Categorical([1, 2, None], categories=[3, 2, 1]),
            "floats": pd.Categorical([0.5, None, 1.5]),
            "dates": pd.Categorical(pd.to_datetime(["2024", "2025", None])),
            "zones": pd.Categorical(pd.to_datetime(["2024", "2025", None]).tz_localize(BERLIN)),
            "mixed": pd.Categorical(["1", 1, None]),
            "bools": pd.Categorical([True, False, None]),
            "none used": pd.Categorical([None] * 3, categories=["a"]),
        }
    ),
    "category of columns": pd.crosstab(pd.Categorical(["a", "b"]), pd.Categorical(["x", "y"])),
    "complex": pd.DataFrame({"c": np.array([1 + 2j, np.nan]), "e": np.array([1, 2], dtype="c8")}),
    "cut": pd.cut(pd.Series([1.0, 2, 3, np.nan]), 3),
    "cut of a list": pd.cut([1.0, 2, 3], 3),
    "dates in cells": _objects(dt.date(2024, 1, 1), None),
    "decimals in cells": _objects(decimal.Decimal("1.10"), None),
    "describe": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).describe(include="all"),
    "dicts in cells": _objects({"a": 1}, {"b": {1, 2}}, None),
    "double columns": pd.DataFrame([[1, 2.5]], columns=["a", "a"]),
    "empty": pd.DataFrame(),
    "empty columns": pd.DataFrame(columns=["a", "b"]),
    "empty rows": pd.DataFrame(index=["a", "b"]),
    "frequency": pd.date_range("2024-03-30", periods=4, freq="h", tz=BERLIN),
    "frequency, business": pd.date_range(
        "2024", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])
    ),
    "frequency, offset": pd.date_range("2024", periods=3, freq=pd.DateOffset(months=1, days=2)),
    "half": pd.DataFrame({"h": np.array([1, np.nan], dtype="f2")}),
    "index": pd.Index([1, 2, 3], name="x"),
    "index of bools": pd.Index([True, False]),
    "index of categories": pd.CategoricalIndex(["a", "b"], categories=["b", "a", "c"], ordered=True),
    "index of intervals": pd.DataFrame({"a": [1, 2]}, index=pd.interval_range(0, 2, name="i")),
    "index of objects": pd.Index(["a", None, 1], dtype=object),
    "index of periods": pd.DataFrame({"a": [1, 2]}, index=pd.period_range("2024-01", periods=2, freq="M")),
    "index of durations": pd.timedelta_range("1h", periods=3, name=("a", 1)),
    "index, sparse": pd.Index(pd.arrays.SparseArray([0, 0, 1])),
    "integers of Python": pd.DataFrame({"a": [2**70, 1]}),
    "ints and None": _objects(1, None, 3),
    "intervals": pd.Series(pd.arrays.IntervalArray.from_tuples([(0.5, 1), None], closed="both")),
    "intervals of dates": pd.Series(pd.interval_range(pd.Timestamp("2024", tz="UTC"), periods=2)),
    "lists in cells": _objects([1], [], None, [2, 3]),
    "lists of anything": _objects([1, "a"], [None], [2**70]),
    "missing of every kind": _objects(pd.NA, pd.NaT, None, np.nan, 1),
    "multi": pd.DataFrame(
        {"a": [1, 2]},
        index=pd.MultiIndex.from_arrays([["x", None], pd.period_range("2024", periods=2)], names=["a", None]),
    ),
    "multi columns": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    "multi with unused levels": pd.DataFrame(
        {"a": [1, 2, 3]}, index=pd.MultiIndex.from_product([["x", "y", "z"], [1]], names=["u", "u"])
    ).iloc[:2],
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int8"),
            "u": pd.array([2**64 - 1, None], dtype="UInt64"),
            "f": pd.array([0.1, None], dtype="Float32"),
            "b": pd.array([True, None], dtype="boolean"),
        }
    ),
    "numbers as columns": pd.DataFrame(np.eye(3)),
    "NumPy scalars in cells": _objects(np.float32(1.5), np.int8(1), np.str_("a")),
    "objects as columns": pd.DataFrame([[1]], columns=pd.Index(["a"], dtype=object)),
    "paths in cells": _objects(pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b")),
    "periods": pd.Series(pd.PeriodIndex(["2024-01", None], freq="M")),
    "periods in cells": _objects(pd.Period("2024", freq="M"), pd.Interval(0, 1), pd.Timedelta("1h")),
    "range": pd.RangeIndex(1, 10, 3, name="r"),
    "seconds": pd.DataFrame(
        {
            "s": np.array([1, "NaT"], dtype="m8[s]"),
            "t": np.array([2**40, "NaT"], dtype="M8[s]"),
            "far": np.array([2**61, 1], dtype="M8[s]"),
        }
    ),
    "sets in cells": _objects({1}, {2, 3}, set()),
    "sparse": pd.DataFrame(
        {
            "a": pd.arrays.SparseArray([0, 0, 1, 2]),
            "b": pd.arrays.SparseArray([np.nan, 1, np.nan, 2], kind="block"),
            "c": pd.arrays.SparseArray([True, True, False, True], fill_value=True),
        }
    ),
    "strings": pd.DataFrame(
        {
            "python": pd.array(["a", None], dtype="string[python]"),
            "pyarrow": pd.array(["a", None], dtype="string[pyarrow]"),
            "str": pd.Series(["a", None]),
            "objects": _objects("a", np.nan),
        }
    ),
    "surrogates": pd.DataFrame(
        {"a": _objects(SURROGATE, "b"), "b": pd.array([SURROGATE, None], dtype="string[python]")}
    ),
    "surrogates as columns": pd.DataFrame([[1]], columns=pd.Index([SURROGATE], dtype=object)),
    "times in cells": _objects(pd.Timestamp("2024", tz="UTC"), dt.datetime(2024, 1, 1, fold=1)),
    "tuples in cells": _objects((1, 2), (3,)),
    "value counts": pd.Series(["a", "b", "a"]).value_counts(),
    "zone of an offset": pd.Series(
        pd.to_datetime(["2024", None]).tz_localize(dt.timezone(dt.timedelta(hours=2), "X"))
    ),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_everyday_values_come_back(through: Through, value: Any) -> None:
    """Each with its exact type, and inside of other values too."""
    assert_same(through(value)[0], value)
    assert_same(through({"a": [value]})[0], {"a": [value]})


@pytest.mark.parametrize("value", [pd.NaT, pd.NA, pd.Period("2024Q1"), pd.Interval(0, 1, "both")])
def test_scalars_come_back(through: Through, value: Any) -> None:
    """Missing values, periods and intervals are values like others."""
    assert_same(through(value)[0], value)
    assert_same(through([value, {"a": value}])[0], [value, {"a": value}])


def test_the_files_are_readable_by_pandas(through: Through, local_store: LocalArtifactStore) -> None:
    """`pandas.read_parquet` finds columns and index, and the names of bins and categories."""
    frame = pd.DataFrame(
        {
            "a": pd.array([1, None], dtype="Int64"),
            "b": pd.cut([1.0, 2.0], 2),
            "c": pd.Categorical(["x", "y"]),
        },
        index=pd.Index([10, 20], name="key"),
    )
    _, saved = through(frame)
    with local_store.open_local(saved.uri) as folder:
        read = pd.read_parquet(folder / "frame.parquet")
    pd.testing.assert_frame_equal(read[["a"]], frame[["a"]])
    assert read["b"].tolist() == [str(each) for each in frame["b"]]
    assert read["c"].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"good": [1], "bad": [lambda: 1]}),
        _objects(object()),
        pd.Index([object()], dtype=object),
        pd.DataFrame([[1]], columns=pd.Index([object()], dtype=object)),
        pd.Series([1], name=object),
    ],
    ids=["function", "object", "index", "columns", "name"],
)
def test_objects_that_cannot_be_stored_are_refused(
    through: Through, local_store: LocalArtifactStore, value: Any
) -> None:
    """With the place where they stand, and nothing is left in the store."""
    with pytest.raises(UsageError, match=r"bad|\[0\]|value|columns|name"):
        through(value)
    assert not list(local_store.list_objects())


def test_a_cell_that_contains_itself_is_refused(through: Through) -> None:
    """With a plain error, not one of Python's."""
    cell: list[Any] = [1, "a"]
    cell.append(cell)
    with pytest.raises(UsageError, match="contains itself"):
        through(_objects(cell))


def test_nothing_is_committed_that_would_come_back_otherwise(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small frame is read again and compared before it is committed."""
    monkeypatch.setattr(pandas_arrays.ArrayReader, "_objects", lambda self, data, stored: data.to_numpy())
    with pytest.raises(RayformError, match="would not come back"):
        save_value(local_store, new_id(), pd.DataFrame({"a": _objects({"b": 1})}))
    assert not list(local_store.list_objects())


def test_large_frames_are_proved_by_structure_and_first_rows(through: Through) -> None:
    """Their content comes back too."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=300_000),
            "c": pd.Categorical.from_codes(rng.integers(-1, 3, 300_000), ["a", "b", "c"]),
            "o": pd.Series([1, None, "a"] * 100_000, dtype=object),
        },
        index=pd.date_range("2024", periods=300_000, freq="s", tz=BERLIN),
    )
    assert_same(through(frame)[0], frame)


def test_frames_of_the_first_format_load(tmp_path: pathlib.Path) -> None:
    """What was stored before `frame.json` had all dtypes comes back as it did."""
    pd.DataFrame({"c0": [1], "c1": ["x"]}).to_parquet(tmp_path / "frame.parquet")
    (tmp_path / "frame.json").write_text(
        '{"series": false, "dtypes": ["int64", "str"], "columns": [1, {"$tuple": ["a", 2]}], '
        '"column_levels": ["n"], "multi": false}'
    )
    loaded = PandasMaterializer().load(tmp_path, pd.DataFrame)
    assert loaded.columns.tolist() == [1, ("a", 2)]
    assert loaded.iloc[0].tolist() == [1, "x"]


INSTANTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=4,
)
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=4)
PLAIN = st.text(max_size=4)
FREQUENCIES = ["Y", "Q-NOV", "M", "W-WED", "D", "h", "min", "s", "ms", "us", "ns"]
STRINGS = ["string[python]", "string[pyarrow]", "str"]


def _optional(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | items


@contextlib.contextmanager
def rejecting() -> Iterator[None]:
    """Leave out what pandas itself can't make."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError, OverflowError, pa.ArrowException):
        reject()


@st.composite
def arrays(draw: st.DrawFn, size: int) -> Any:
    """An array of any dtype that pandas has."""
    with rejecting():
        return draw(st.sampled_from(_KINDS))(draw, size)


def _list(draw: st.DrawFn, items: st.SearchStrategy[Any], size: int) -> list[Any]:
    return draw(st.lists(items, min_size=size, max_size=size))


def _numpy(draw: st.DrawFn, size: int) -> Any:
    scalar = (
        npst.boolean_dtypes()
        | npst.integer_dtypes()
        | npst.unsigned_integer_dtypes()
        | npst.floating_dtypes(endianness="<")
        | npst.complex_number_dtypes(endianness="<", sizes=(64, 128))
    )
    dtype = draw(scalar.filter(lambda dtype: dtype.itemsize <= 16))
    return draw(npst.arrays(dtype, size))


def _times(draw: st.DrawFn, size: int) -> Any:
    unit, kind = draw(st.sampled_from(["s", "ms", "us", "ns"])), draw(st.sampled_from("mM"))
    numbers = np.array(_list(draw, st.integers(-(2**63), 2**63 - 1), size), dtype="i8")
    array = pd.array(numbers.view(f"{kind}8[{unit}]"))
    if kind == "M" and draw(st.booleans()):
        zone = draw(st.timezones() | st.just(dt.UTC) | st.just(dt.timezone(dt.timedelta(hours=-3))))
        instants = np.array(_list(draw, _optional(INSTANTS), size), dtype="M8[us]")
        return pd.DatetimeIndex(instants.astype(f"M8[{unit}]")).tz_localize("UTC").tz_convert(zone).array
    return array


def _objects_of(draw: st.DrawFn, size: int) -> Any:
    items = draw(
        st.sampled_from(
            [
                CELLS,
                _optional(TEXTS),
                _optional(st.integers()),
                _optional(st.booleans()),
                st.lists(st.floats()),
                st.sampled_from([None, np.nan, pd.NA, pd.NaT]),
                st.decimals(allow_nan=False),
                st.sets(st.integers()),
            ]
        )
    )
    return pd.Series(_list(draw, items, size), dtype=object).array


def _strings(draw: st.DrawFn, size: int) -> Any:
    dtype = draw(st.sampled_from(STRINGS))
    texts = TEXTS if dtype == "string[python]" else PLAIN
    return pd.array(np.array(_list(draw, _optional(texts), size), dtype=object), dtype=dtype)


def _nullable(draw: st.DrawFn, size: int) -> Any:
    dtype = draw(st.sampled_from(["Int8", "UInt64", "Int64", "Float32", "Float64", "boolean"]))
    items = st.booleans() if dtype == "boolean" else st.integers(0, 100)
    return pd.array(_list(draw, _optional(items), size), dtype=dtype)


def _arrow(draw: st.DrawFn, size: int) -> Any:
    kind, items = draw(
        st.sampled_from(
            [
                (pa.int16(), st.integers(-5, 5)),
                (pa.float32(), st.floats(width=32)),
                (pa.string(), PLAIN),
                (pa.large_binary(), st.binary()),
                (pa.date32(), st.dates()),
                (pa.timestamp("ms", "UTC"), st.none()),
                (pa.duration("s"), st.timedeltas(dt.timedelta(0), dt.timedelta(9)).map(_whole)),
                (pa.time64("us"), st.times()),
                (pa.list_(pa.string()), st.lists(PLAIN, max_size=2)),
                (pa.struct([("a", pa.int8())]), st.fixed_dictionaries({"a": st.integers(0, 9)})),
                (pa.decimal128(9, 3), st.decimals(0, 9, places=3)),
                (pa.null(), st.none()),
            ]
        )
    )
    return pd.arrays.ArrowExtensionArray(pa.array(_list(draw, _optional(items), size), type=kind))


def _whole(duration: dt.timedelta) -> dt.timedelta:
    return dt.timedelta(seconds=int(duration.total_seconds()))


def _categories(draw: st.DrawFn, size: int) -> Any:
    categories = pd.Index(draw(arrays(draw(st.integers(0, 4))))).unique()
    categories = categories[categories.notna()]
    codes = _list(draw, st.integers(-1, len(categories) - 1), size)
    return pd.Categorical.from_codes(codes, categories, ordered=draw(st.booleans()))


def _periods(draw: st.DrawFn, size: int) -> Any:
    dtype = pd.PeriodDtype(draw(st.sampled_from(FREQUENCIES)))
    numbers = _list(draw, st.just(-(2**63)) | st.integers(-1000, 20_000), size)
    return pd.arrays.PeriodArray(np.array(numbers, dtype="i8"), dtype=dtype)


def _intervals(draw: st.DrawFn, size: int) -> Any:
    left = np.array(_list(draw, st.integers(-100, 100), size), dtype="i8")
    sides = draw(st.sampled_from(["i8", "f8", "M8[ns]", "m8[us]"]))
    closed = draw(st.sampled_from(["left", "right", "both", "neither"]))
    return pd.arrays.IntervalArray.from_arrays(left.astype(sides), (left + 5).astype(sides), closed=closed)


def _sparse(draw: st.DrawFn, size: int) -> Any:
    dtype = draw(st.sampled_from(["i8", "f4", "f8", "?"]))
    data = np.array(_list(draw, st.integers(0, 2), size), dtype=dtype)
    kind = draw(st.sampled_from(["integer", "block"]))
    return pd.arrays.SparseArray(data, kind=kind, fill_value=draw(st.sampled_from([None, 0, 1])))


_KINDS = (
    _numpy,
    _times,
    _objects_of,
    _strings,
    _nullable,
    _arrow,
    _categories,
    _periods,
    _intervals,
    _sparse,
)


@st.composite
def indexes(draw: st.DrawFn, size: int) -> pd.Index:
    """An index of any kind."""
    name = draw(_optional(TEXTS | st.integers() | st.tuples(st.integers(), PLAIN)))
    kind = draw(st.sampled_from(["range", "array", "dates", "multi"]))
    if kind == "range":
        step = draw(st.sampled_from([1, 2, -3]))
        return pd.RangeIndex(5, 5 + size * step, step, name=name)
    if kind == "dates":
        freq = draw(st.sampled_from([*FREQUENCIES[4:8], "B", "MS", "W-MON", "2D"]))
        zone = draw(st.sampled_from([None, "UTC", BERLIN]))
        return pd.date_range("2024-03-29", periods=size, freq=freq, tz=zone, name=name)
    if kind == "multi":
        columns = [draw(arrays(size)) for _ in range(draw(st.integers(1, 3)))]
        return pd.MultiIndex.from_arrays(columns, names=[name, *[None] * (len(columns) - 1)])
    array = draw(arrays(size))
    return pd.Index(array, name=name, dtype=array.dtype)


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """A frame, a series or an index with arrays of any dtype, any index and any names."""
    with rejecting():
        return _frame(draw)


def _frame(draw: st.DrawFn) -> Any:
    size = draw(st.integers(0, 4))
    index = draw(indexes(size))
    kind = draw(st.sampled_from(["frame", "series", "index"]))
    if kind == "index":
        return index
    if kind == "series":
        array = draw(arrays(size))
        return pd.Series(array, index=index, dtype=array.dtype, name=draw(_optional(TEXTS)))
    width = draw(st.integers(0, 3))
    columns = [draw(arrays(size)) for _ in range(width)]
    data = {number: pd.Series(a, index=index, dtype=a.dtype) for number, a in enumerate(columns)}
    frame = pd.DataFrame(data, index=index)
    names = draw(st.sampled_from(["plain", "texts", "any"]))
    if names == "plain":
        frame.columns = pd.Index([f"column {number}" for number in range(width)])
    elif names == "texts":
        frame.columns = pd.Index(_list(draw, TEXTS, width), dtype=object)
    else:
        frame.columns = draw(indexes(width))
    return frame


def _search(value: Any, through: Through) -> None:
    loaded, _ = through(value)
    found = difference(loaded, value)
    assert found is None, found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
@SEARCH
@given(value=frames())
def test_any_pandas_value_comes_back(through: Through, value: Any) -> None:
    """Every dtype, every kind of index, every name: the same types and the same values."""
    _search(value, through)


@pytest.mark.slow
@SEARCH
@given(
    value=pdst.data_frames(
        columns=[
            *pdst.columns(4, dtype=float),
            pdst.column("i", dtype=int),
            pdst.column("s", elements=TEXTS, dtype=object),
        ],
        index=pdst.range_indexes(max_size=5) | pdst.indexes(dtype=int, max_size=5),
    )
    | pdst.series(dtype="M8[ns]", index=pdst.indexes(elements=PLAIN, dtype=object, max_size=5))
    | pdst.indexes(dtype="m8[ns]", max_size=5)
)
def test_what_hypothesis_calls_a_frame_comes_back(through: Through, value: Any) -> None:
    """hypothesis' own strategies for frames, series and indexes."""
    _search(value, through)


@pytest.mark.slow
@SEARCH
@given(
    value=npst.arrays(
        npst.scalar_dtypes() | npst.array_dtypes() | npst.byte_string_dtypes() | npst.unicode_string_dtypes(),
        npst.array_shapes(min_dims=0, min_side=0, max_side=4),
    )
)
def test_what_hypothesis_calls_an_array_comes_back(through: Through, value: Any) -> None:
    """Every dtype that hypothesis knows, as an array, in a list, and as its first scalar."""
    _search(value, through)
    _search([value], through)
    if value.size and value.dtype.kind not in "SU":
        _search(value.ravel()[0], through)


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("kind", ["array", "series", "frame"])
def test_loaded_times_can_be_changed(kind: str, zone: str | None, tmp_path: pathlib.Path) -> None:
    """Neither Arrow's memory nor that of an index, which can't be written, reaches the user."""
    index = pd.date_range("2024", periods=3, tz=zone)
    value: Any = {"array": index.array, "series": pd.Series(index), "frame": pd.DataFrame({"a": index})}[kind]
    PandasMaterializer().save(value, tmp_path)
    loaded: Any = PandasMaterializer().load(tmp_path, type(value))
    if kind == "frame":
        loaded.iloc[0, 0] = loaded.iloc[2, 0]
    else:
        loaded[0] = loaded[2]
    assert pd.Index(loaded["a"] if kind == "frame" else loaded)[0] == index[2]
