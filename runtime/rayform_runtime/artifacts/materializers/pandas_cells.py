"""Columns of Python objects as Arrow arrays, and back with the same objects."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, TypedDict

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.json_codec import Decoder, Encoder
from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["StoredCells", "cells_from_arrow", "cells_to_arrow", "texts_to_arrow"]

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class StoredCells(TypedDict):
    """How a column of objects is stored.

    Args:
        form: `plain` (as Arrow's own type), `texts` (UTF-8 bytes that keep lone surrogates), `lists`, `arrays` (of
            `dtype`), or `json` (the JSON form of each object).
        missing: the object that stands where Arrow has a null: `None`, `nan`, `NA` or `NaT`.
        dtype: the NumPy dtype of the arrays.
    """

    form: str
    missing: str
    dtype: str | None


def _missing_name(values: Sequence[object], kinds: set[type]) -> tuple[str, set[type]]:
    """Return the name of the one kind of missing value among the values, and the types of all others.

    Two kinds of missing values have no such name; then the result has the types as they were.
    """
    names: dict[type, str] = {type(None): "None"}
    for kind in kinds:
        if kind.__name__ in ("NAType", "NaTType") and kind.__module__.startswith("pandas"):
            names[kind] = kind.__name__.removesuffix("Type")
    if float in kinds and all(math.isnan(value) for value in values if type(value) is float):
        names[float] = "nan"
    missing = [kind for kind in kinds if kind in names]
    if len(missing) != 1:
        return "None", kinds - {type(None)} if not missing else kinds
    return names[missing[0]], kinds - set(missing)


def texts_to_arrow(values: Sequence[object], missing: Callable[[object], bool]) -> tuple[pa.Array, bool]:
    """Return an array of strings, and whether it holds bytes, since a text has lone surrogates."""
    import pyarrow as pa

    texts = [None if missing(value) else value for value in values]
    try:
        return pa.array(texts, type=pa.large_string()), False
    except UnicodeEncodeError:
        data = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else None for text in texts]
        return pa.array(data, type=pa.large_binary()), True


def cells_to_arrow(values: np.ndarray, encoder: Encoder, where: str) -> tuple[pa.Array, StoredCells]:
    """Return an Arrow array of the objects, and how it is stored.

    Args:
        values: an array of objects.
        encoder: turns objects into JSON.
        where: the column's place in the whole value, for errors.

    Raises:
        UsageError: an object can't be stored.
    """
    import pyarrow as pa

    cells = list(values)
    kinds = set(map(type, cells))
    missing, kinds = _missing_name(cells, kinds)
    stored: StoredCells = {"form": "plain", "missing": missing, "dtype": None}
    is_missing = _is(missing)
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if kind is str or (not kinds and cells):
        data, encoded = texts_to_arrow(cells, is_missing)
        return data, {**stored, "form": "texts" if encoded else "plain"}
    plain = {bool: pa.bool_(), float: pa.float64(), bytes: pa.large_binary(), date: pa.date32()}
    if kind is int and all(is_missing(cell) or _SMALLEST <= cell <= _LARGEST for cell in cells):
        plain[int] = pa.int64()
    if kind in plain:
        return pa.array([None if is_missing(cell) else cell for cell in cells], type=plain[kind]), stored
    if kind is list:
        element = _one_type(cells, is_missing)
        if element is not None:
            present = [None if is_missing(cell) else cell for cell in cells]
            return pa.array(present, type=pa.large_list(element)), {**stored, "form": "lists"}
    if kind is not None and (kind.__module__, kind.__qualname__) == ("numpy", "ndarray"):
        dtype = _one_dtype(cells, is_missing)
        if dtype is not None:
            return _arrays_to_arrow(cells, dtype, is_missing), {
                **stored,
                "form": "arrays",
                "dtype": dtype.str,
            }
    return pa.array(list(_texts(cells, encoder, where)), type=pa.large_string()), {
        **stored,
        "form": "json",
        "missing": "None",
    }


def _texts(cells: Sequence[object], encoder: Encoder, where: str) -> Iterator[str]:
    for row, cell in enumerate(cells):
        place = f"{where}[{row}]"
        try:
            yield json.dumps(encoder.encode(cell, place), separators=(",", ":"), allow_nan=False)
        except UnsupportedTypeError as error:
            raise UsageError(
                f"A pandas value can't be stored (at {place or 'its index'}).",
                why=f"The column has mixed types, or types that no materializer takes: {error}",
                hint="Give each column one plain type, for instance frame['column'].astype(str).",
            ) from error
        except RecursionError as error:
            raise UsageError(
                f"A pandas value can't be stored (at {place}).",
                why="The object there contains itself, or is nested too deeply.",
                hint="Give each column one plain type, for instance frame['column'].astype(str).",
            ) from error


def _is(name: str) -> Callable[[object], bool]:
    """Return a function that says whether an object is the missing value of this name."""
    if name == "nan":
        return lambda cell: type(cell) is float and cell != cell
    missing = _missing_value(name)
    return lambda cell: cell is missing


def _missing_value(name: str) -> object:
    if name == "None":
        return None
    if name == "nan":
        return math.nan
    import pandas as pd

    return pd.NA if name == "NA" else pd.NaT


def _one_type(cells: Sequence[object], is_missing: Callable[[object], bool]) -> pa.DataType | None:
    """Return the Arrow type of all elements of all lists, or `None` if they differ or Arrow would change them."""
    import pyarrow as pa

    kinds: set[type] = set()
    for cell in cells:
        if isinstance(cell, list) and not is_missing(cell):
            kinds.update(map(type, cell))
            if len(kinds) > 1:
                return None
    kind = next(iter(kinds)) if kinds else None
    if kind is int:
        inside = (item for cell in cells if isinstance(cell, list) for item in cell)
        return pa.int64() if all(_SMALLEST <= item <= _LARGEST for item in inside) else None
    if kind is str:
        inside = (item for cell in cells if isinstance(cell, list) for item in cell)
        return pa.large_string() if not any(map(_has_surrogates, inside)) else None
    return pa.float64() if kind is float else None


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _one_dtype(cells: Sequence[object], is_missing: Callable[[object], bool]) -> np.dtype | None:
    """Return the dtype of one-dimensional arrays of real numbers, or `None` if there are others among them."""
    import numpy as np

    dtypes = set()
    for cell in cells:
        if isinstance(cell, np.ndarray) and not is_missing(cell):
            if cell.ndim != 1 or cell.dtype.kind not in "biuf" or cell.dtype.itemsize > 8:
                return None
            dtypes.add(cell.dtype)
    return dtypes.pop() if len(dtypes) == 1 else None


def _arrays_to_arrow(
    cells: Sequence[object], dtype: np.dtype, is_missing: Callable[[object], bool]
) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    arrays = [None if is_missing(cell) else np.asarray(cell) for cell in cells]
    lengths = [0 if array is None else len(array) for array in arrays]
    present = [array for array in arrays if array is not None]
    flat = np.concatenate(present).astype(dtype.newbyteorder("="), copy=False)
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype("int64"))
    mask = pa.array([array is None for array in arrays]) if len(present) < len(arrays) else None
    return pa.LargeListArray.from_arrays(offsets, pa.array(flat), mask=mask)


def cells_from_arrow(data: pa.Array, stored: StoredCells, decoder: Decoder) -> np.ndarray:
    """Return the array of objects that `cells_to_arrow` turned into an Arrow array."""
    import numpy as np

    missing = _missing_value(stored["missing"])
    form = stored["form"]
    cells: list[object]
    if form == "arrays":
        dtype, offsets = np.dtype(stored["dtype"]), data.offsets.to_numpy()
        flat = data.values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
        valid = data.is_valid().to_numpy(zero_copy_only=False)
        cells = [
            flat[start:stop].copy() if present else missing
            for start, stop, present in zip(offsets[:-1], offsets[1:], valid, strict=True)
        ]
    elif form == "json":
        cells = [json.loads(text, object_hook=decoder.hook) for text in data.to_pylist()]
    elif form == "texts":
        cells = [
            missing if text is None else text.decode("utf-8", "surrogatepass") for text in data.to_pylist()
        ]
    else:
        cells = data.to_pylist()
        if missing is not None and data.null_count:
            cells = [missing if cell is None else cell for cell in cells]
    return np.fromiter(cells, dtype=object, count=len(cells))
