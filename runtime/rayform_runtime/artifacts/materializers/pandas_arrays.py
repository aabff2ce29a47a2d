"""pandas arrays of every dtype as Arrow arrays, with a description in JSON of what Arrow can't say."""

# Which keys a description has depends on its `how`.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder
from rayform_runtime.artifacts.materializers.pandas_cells import (
    StoredCells,
    cells_from_arrow,
    cells_to_arrow,
    texts_to_arrow,
)
from rayform_runtime.artifacts.materializers.pandas_zones import decode_zone, encode_zone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["ArrayReader", "ArrayWriter", "StoredArray"]

_NAT = -(2**63)


class StoredArray(TypedDict, total=False):
    """How an array is stored.

    Args:
        how: the name of the form; `ArrayReader` has one method for each.
        dtype: the NumPy dtype, or the pandas dtype as text.
        cells: how Python objects are stored.
        unit, zone: of times. The zone is the JSON form of a `tzinfo`.
        key: how the categories are found again: `codes`, `values` or `texts`.
        index: the categories, or the positions of the values of a sparse array.
        parts: the arrays inside this one: the two sides of intervals, the values of a sparse array.
        ordered, closed, storage, missing, kind, fill, length, type: what the dtype says.
        list: the number of the list that holds the array; without it, the array is a column.
    """

    how: str
    dtype: str
    cells: StoredCells
    unit: str
    zone: JSON
    key: str
    index: Any
    parts: list[StoredArray]
    ordered: bool
    closed: Literal["left", "right", "both", "neither"]
    storage: Literal["python", "pyarrow"]
    missing: str
    kind: str
    fill: Any
    length: int
    type: str
    list: int
    texts: int


class ArrayWriter:
    """Turns arrays into Arrow.

    Args:
        encoder: turns Python objects into JSON.
        write_index: describes an index, such as the categories of a column.

    Attributes:
        lists: arrays of other lengths than the columns, in the order of their numbers.
    """

    def __init__(self, encoder: Encoder, write_index: Callable[[pd.Index], Any]) -> None:
        self.encoder = encoder
        self.lists: list[pa.Array] = []
        self._write_index = write_index

    def write_list(self, values: Any, where: str) -> StoredArray:
        """Describe an array, and store it as a list."""
        data, stored = self.to_arrow(values, where)
        stored["list"] = len(self.lists)
        self.lists.append(data)
        return stored

    def to_arrow(self, values: Any, where: str) -> tuple[pa.Array, StoredArray]:
        """Return an Arrow array, and how it is stored.

        Args:
            values: a NumPy array or a pandas `ExtensionArray`.
            where: the array's place in the whole value, for errors.

        Raises:
            UsageError: it can't be stored.
        """
        import numpy as np
        import pandas as pd

        if type(values) is pd.arrays.NumpyExtensionArray:
            values = values.to_numpy()
        dtype = values.dtype
        if isinstance(dtype, np.dtype):
            return self._numpy(values, dtype, where)
        if isinstance(dtype, pd.DatetimeTZDtype):
            instants = values.tz_convert("UTC").tz_localize(None).to_numpy()
            data, stored = self._numpy(instants, instants.dtype, where)
            return data, {**stored, "zone": encode_zone(dtype.tz, where)}
        if isinstance(dtype, pd.CategoricalDtype):
            data, stored = self.categories(values.codes, dtype.categories, where)
            return data, {**stored, "ordered": bool(dtype.ordered)}
        if isinstance(dtype, pd.IntervalDtype):
            return self._interval(values, where)
        if isinstance(dtype, pd.PeriodDtype):
            if pd.api.types.pandas_dtype(str(dtype)) != dtype:
                raise _refusal(dtype, where)
            return _storage(values.__arrow_array__()), {"how": "period", "dtype": str(dtype)}
        if isinstance(dtype, pd.StringDtype):
            return self._strings(values, dtype)
        if isinstance(dtype, pd.SparseDtype):
            return self._sparse(values, dtype, where)
        if isinstance(dtype, pd.ArrowDtype):
            return _arrow(values)
        if getattr(dtype, "na_value", None) is pd.NA and getattr(dtype, "kind", "O") in "biuf":
            return _masked(values, dtype)
        return _extension(values, dtype, where)

    def _numpy(self, values: Any, dtype: np.dtype, where: str) -> tuple[pa.Array, StoredArray]:
        import numpy as np
        import pyarrow as pa

        array: np.ndarray = np.asarray(values)
        if dtype.kind == "O":
            data, cells = cells_to_arrow(array, self.encoder, where)
            return data, {"how": "objects", "cells": cells}
        if dtype.kind in "biuf" and dtype.itemsize <= 8:
            native = np.ascontiguousarray(array).astype(dtype.newbyteorder("="), copy=False)
            return pa.array(native, from_pandas=False), {"how": "numpy", "dtype": dtype.str}
        if dtype.kind in "mM":
            return _times(array)
        if dtype.kind == "c" and dtype.itemsize <= 16:
            native = array.astype(dtype.newbyteorder("="), copy=False)
            parts = [pa.array(np.ascontiguousarray(part)) for part in (np.real(native), np.imag(native))]
            return pa.StructArray.from_arrays(parts, ["real", "imag"]), {"how": "complex", "dtype": dtype.str}
        buffer = pa.py_buffer(array.tobytes())
        data = pa.Array.from_buffers(pa.binary(dtype.itemsize), len(array), [None, buffer])
        return data, {"how": "bytes", "dtype": dtype.str}

    def categories(self, codes: np.ndarray, index: pd.Index, where: str) -> tuple[pa.Array, StoredArray]:
        """Return the values that codes stand for (-1 for none), and how they and the index are stored.

        Arrow holds the values where it can find each again in the index, or else their texts, or else the codes.
        """
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        stored: StoredArray = {"how": "categories", "index": self._write_index(index)}
        numbers = pa.array(np.asarray(codes, dtype="int64"), mask=np.asarray(codes) < 0)
        simple = isinstance(index.dtype, pd.StringDtype) or getattr(index.dtype, "kind", "") in "iuM"
        if index.hasnans or not index.is_unique or isinstance(index, pd.MultiIndex):
            return numbers, {**stored, "key": "codes"}
        if simple or (index.dtype == object and index.inferred_type == "string"):
            data, _ = self.to_arrow(index.array, where)
            if pa.types.is_large_string(data.type) or pa.types.is_string(data.type):
                small = numbers.cast(pa.int32())
                return pa.DictionaryArray.from_arrays(small, data), {**stored, "key": "values"}
            if not isinstance(data, pa.ExtensionArray) and pa.types.is_primitive(data.type):
                return data.take(numbers), {**stored, "key": "values"}
        texts = [str(category) for category in index]
        if len(set(texts)) < len(texts):
            return numbers, {**stored, "key": "codes"}
        data, encoded = texts_to_arrow(texts, lambda text: False)
        if encoded:
            return numbers, {**stored, "key": "codes"}
        stored["texts"] = len(self.lists)
        self.lists.append(data)
        return pa.DictionaryArray.from_arrays(numbers.cast(pa.int32()), data), {**stored, "key": "texts"}

    def _interval(self, values: Any, where: str) -> tuple[pa.Array, StoredArray]:
        import pyarrow as pa

        sides = [self.to_arrow(side.array, where) for side in (values.left, values.right)]
        data = pa.StructArray.from_arrays([side[0] for side in sides], ["left", "right"])
        return data, {"how": "interval", "closed": values.closed, "parts": [side[1] for side in sides]}

    def _strings(self, values: Any, dtype: pd.StringDtype) -> tuple[pa.Array, StoredArray]:
        import pandas as pd
        import pyarrow as pa

        stored: StoredArray = {"how": "string", "storage": dtype.storage}
        stored["missing"] = "NA" if dtype.na_value is pd.NA else "nan"
        try:
            data = _combined(pa.array(values, from_pandas=True))
            return data.cast(pa.large_string()), stored
        except UnicodeEncodeError:
            missing = values.isna().tolist()
            texts = [None if gone else text for text, gone in zip(values, missing, strict=True)]
            data, _ = texts_to_arrow(texts, lambda text: text is None)
            return data, stored

    def _sparse(self, values: Any, dtype: pd.SparseDtype, where: str) -> tuple[pa.Array, StoredArray]:
        import numpy as np
        import pyarrow as pa

        positions = values.sp_index.to_int_index().indices
        stored: StoredArray = {
            "how": "sparse",
            "length": len(values),
            "kind": values.kind,
            "fill": self.encoder.encode(dtype.fill_value, where),
            "dtype": np.dtype(dtype.subtype).str,
            "parts": [self.write_list(values.sp_values, where), self.write_list(positions, where)],
        }
        return pa.nulls(len(values)), stored


def _combined(data: Any) -> Any:
    import pyarrow as pa

    return data.combine_chunks() if isinstance(data, pa.ChunkedArray) else data


def _storage(data: Any) -> Any:
    import pyarrow as pa

    data = _combined(data)
    return data.storage if isinstance(data, pa.ExtensionArray) else data


def _refusal(dtype: object, where: str) -> UsageError:
    return UsageError(
        f"A pandas value of dtype '{dtype}' can't be stored{f' (at {where})' if where else ''}.",
        why=f"Its dtype, of type '{import_path(type(dtype))}', has no form in Parquet that gives the same dtype back.",
        hint="Convert it to a plain dtype first, for instance frame['column'].astype(object) or .astype(str).",
    )


def _times(array: np.ndarray) -> tuple[pa.Array, StoredArray]:
    """Return timestamps or durations; of seconds that Parquet's milliseconds can't hold, the numbers alone."""
    import numpy as np
    import pyarrow as pa

    native = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False)
    numbers = native.view("i8")
    data = pa.array(numbers, mask=numbers == _NAT)
    unit = np.datetime_data(array.dtype)[0]
    stored: StoredArray = {"how": "times", "dtype": array.dtype.str, "unit": unit}
    present = numbers[numbers != _NAT]
    fits = unit != "s" or not len(present) or bool(np.abs(present).max() < 2**63 // 1000)
    if fits and unit in ("s", "ms", "us", "ns"):
        data = data.view(pa.timestamp(unit) if array.dtype.kind == "M" else pa.duration(unit))
    return data, stored


def _arrow(values: Any) -> tuple[pa.Array, StoredArray]:
    import pyarrow as pa

    data = _combined(values.__arrow_array__())
    described = pa.schema([pa.field("type", data.type)]).serialize().to_pybytes()
    return data, {"how": "arrow", "dtype": str(values.dtype), "type": b64encode(described).decode()}


def _masked(values: Any, dtype: Any) -> tuple[pa.Array, StoredArray]:
    import pyarrow as pa

    plain = values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
    data = pa.array(plain, mask=values.isna(), from_pandas=False)
    return data, {"how": "masked", "dtype": str(dtype)}


def _extension(values: Any, dtype: Any, where: str) -> tuple[pa.Array, StoredArray]:
    """Return an array of a dtype that another package registers with pandas, by pandas' own protocol for Arrow."""
    import pandas as pd

    name = str(dtype)
    try:
        same = pd.api.types.pandas_dtype(name) == dtype
    except TypeError:
        same = False
    if not (same and hasattr(values, "__arrow_array__") and hasattr(dtype, "__from_arrow__")):
        raise _refusal(dtype, where)
    module = import_path(type(dtype))
    return _storage(values.__arrow_array__()), {"how": "extension", "dtype": name, "type": module}


class ArrayReader:
    """Turns Arrow back into arrays.

    Args:
        decoder: turns JSON into Python objects.
        lists: arrays of other lengths than the columns.
        read_index: returns the index that a description stands for.
    """

    def __init__(
        self, decoder: Decoder, lists: list[pa.Array], read_index: Callable[[Any], pd.Index]
    ) -> None:
        self._decoder = decoder
        self._lists = lists
        self._read_index = read_index

    def read_list(self, stored: StoredArray) -> Any:
        """Return an array that is stored as a list."""
        return self.from_arrow(self._lists[stored["list"]], stored)

    def from_arrow(self, data: Any, stored: StoredArray) -> Any:
        """Return the array: a NumPy array, which may share memory that can't be written, or an `ExtensionArray`."""
        read: Callable[[Any, StoredArray], Any] = getattr(self, f"_{stored['how']}")
        return read(_storage(data), stored)

    def _numpy(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np

        return data.to_numpy(zero_copy_only=False).astype(np.dtype(stored["dtype"]), copy=False)

    def _objects(self, data: Any, stored: StoredArray) -> Any:
        return cells_from_arrow(data, stored["cells"], self._decoder)

    def _times(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        dtype, unit = np.dtype(stored["dtype"]), stored["unit"]
        if not pa.types.is_integer(data.type):
            exact = pa.timestamp(unit) if pa.types.is_timestamp(data.type) else pa.duration(unit)
            data = data.cast(exact).view(pa.int64())
        filled = data.fill_null(_NAT) if data.null_count else data
        array = filled.to_numpy(zero_copy_only=False).view(dtype.newbyteorder("=")).astype(dtype, copy=False)
        if "zone" in stored:
            return pd.DatetimeIndex(array).tz_localize("UTC").tz_convert(decode_zone(stored["zone"])).array
        return array

    def _complex(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np

        dtype = np.dtype(stored["dtype"])
        array = np.empty(len(data), dtype.newbyteorder("="))
        array.real, array.imag = (part.to_numpy(zero_copy_only=False) for part in data.flatten())
        return array.astype(dtype, copy=False)

    def _bytes(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np

        dtype = np.dtype(stored["dtype"])
        return np.frombuffer(b"".join(data.to_pylist()), dtype=dtype)

    def _categories(self, data: Any, stored: StoredArray) -> Any:
        import pandas as pd

        index = self._read_index(stored["index"])
        codes = self.codes(data, stored, index)
        return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(index, ordered=stored["ordered"]))

    def codes(self, data: Any, stored: StoredArray, index: pd.Index) -> np.ndarray:
        """Return the codes of values in the index, -1 for none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        data = _combined(data)
        if stored["key"] != "codes":
            keys = self._keys(stored, index)
            index_in: Callable[..., Any] = getattr(pc, "index_in")  # noqa: B009 - pyarrow makes it when it is imported
            if pa.types.is_dictionary(data.type):
                numbers = index_in(data.dictionary.cast(keys.type), value_set=keys)
                data = numbers.take(data.indices)
            else:
                data = index_in(data.cast(keys.type), value_set=keys, skip_nulls=True)
        codes: np.ndarray = data.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes

    def _keys(self, stored: StoredArray, index: pd.Index) -> Any:
        """Return what stands for the categories in a column, in their order."""
        if stored["key"] == "texts":
            return self._lists[stored["texts"]]
        keys, _ = ArrayWriter(Encoder(_no_item), lambda index: None).to_arrow(index.array, "")
        return keys

    def _interval(self, data: Any, stored: StoredArray) -> Any:
        import pandas as pd

        left, right = (
            self.from_arrow(side, part) for side, part in zip(data.flatten(), stored["parts"], strict=True)
        )
        return pd.arrays.IntervalArray.from_arrays(left, right, closed=stored["closed"])

    def _period(self, data: Any, stored: StoredArray) -> Any:
        import pandas as pd

        numbers = data.fill_null(_NAT).to_numpy(zero_copy_only=False).copy()
        dtype: Any = pd.api.types.pandas_dtype(stored["dtype"])
        return pd.arrays.PeriodArray(numbers, dtype=dtype)

    def _string(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        missing: Any = pd.NA if stored["missing"] == "NA" else np.nan
        dtype: Any = pd.StringDtype(stored["storage"], na_value=missing)
        if pa.types.is_large_binary(data.type):
            texts = [None if t is None else t.decode("utf-8", "surrogatepass") for t in data.to_pylist()]
            return pd.array(np.array(texts, dtype=object), dtype=dtype)
        return dtype.__from_arrow__(data)

    def _sparse(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np
        import pandas as pd

        values, positions = (np.array(self.read_list(part)) for part in stored["parts"])
        kind: Any = pd.arrays.SparseArray
        if hasattr(kind, "from_indices"):
            return kind.from_indices(
                values,
                indices=positions.astype("int32"),
                length=stored["length"],
                fill_value=stored["fill"],
                kind=stored["kind"],
                dtype=np.dtype(stored["dtype"]),
            )
        from pandas._libs import sparse  # before pandas 3.1

        make: Any = sparse.IntIndex
        index = make(stored["length"], positions.astype("int32"))
        dtype = pd.SparseDtype(np.dtype(stored["dtype"]), fill_value=stored["fill"])
        index = index.to_block_index() if stored["kind"] == "block" else index
        return kind(values, sparse_index=index, fill_value=stored["fill"], dtype=dtype)

    def _arrow(self, data: Any, stored: StoredArray) -> Any:
        import pandas as pd
        import pyarrow as pa

        kind = pa.ipc.read_schema(pa.py_buffer(b64decode(stored["type"]))).field(0).type
        if str(data.type) != str(kind):  # Parquet also renames the elements of lists
            data = data.cast(kind)
        return pd.arrays.ArrowExtensionArray(pa.chunked_array([data]))

    def _masked(self, data: Any, stored: StoredArray) -> Any:
        import numpy as np
        import pandas as pd

        dtype: Any = pd.api.types.pandas_dtype(stored["dtype"])
        mask = np.array(data.is_null().to_numpy(zero_copy_only=False))
        kind = np.dtype(dtype.numpy_dtype)
        plain = np.array(data.fill_null(kind.type(0).item()).to_numpy(zero_copy_only=False), dtype=kind)
        return dtype.construct_array_type()(plain, mask)

    def _extension(self, data: Any, stored: StoredArray) -> Any:
        import pandas as pd

        from rayform_runtime.artifacts.trust import resolve_stored

        resolve_stored(stored["type"])  # the package registers its dtype when it is imported
        dtype: Any = pd.api.types.pandas_dtype(stored["dtype"])
        return dtype.__from_arrow__(data)


def _no_item(value: object, where: str) -> int:
    raise UsageError(
        f"A category of type '{type(value).__name__}' can't be stored{f' (at {where})' if where else ''}."
    )
