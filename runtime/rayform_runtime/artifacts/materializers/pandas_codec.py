"""pandas frames, series, indexes and arrays as Arrow tables and a JSON document, and back."""

# Which keys a description has depends on its `kind`.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder
from rayform_runtime.artifacts.materializers.pandas_arrays import StoredArray
from rayform_runtime.artifacts.materializers.pandas_axes import AxisReader, AxisWriter, StoredAxis

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["EncodedFrame", "decode", "encode"]


class About(TypedDict, total=False):
    """What a Parquet file can't say about a pandas value: the document `frame.json`.

    Args:
        format: 2; documents without it are of the first format (`pandas_first_format`).
        kind: `frame`, `series`, `index` or `array`.
        rows: the number of rows.
        index, columns: the axes.
        names: the names of the data's columns in the Parquet file.
        data: how each column is stored.
        name: the name of a series.
        attrs, duplicates, further: `attrs`, `flags.allows_duplicate_labels`, and what a subclass keeps (`_metadata`).
    """

    format: int
    kind: str
    rows: int
    index: StoredAxis
    columns: StoredAxis
    names: list[str]
    data: list[StoredArray]
    name: JSON
    attrs: JSON
    duplicates: bool
    further: dict[str, JSON]


class EncodedFrame(NamedTuple):
    """A pandas value as it is stored.

    Args:
        table: its columns, and those of its index.
        lists: arrays of other lengths (categories, column names): one row, and one list per array.
        about: what the tables can't say.
    """

    table: pa.Table
    lists: pa.Table | None
    about: About


def encode(value: Any, store_item: Callable[[object, str], int]) -> EncodedFrame:
    """Return the stored form of a frame, a series, an index or an array.

    Args:
        value: the value.
        store_item: stores an object in a cell that another materializer takes, as for `Encoder`.

    Raises:
        UsageError: a column can't be stored; names it.
    """
    import pandas as pd
    import pyarrow as pa

    encoder = Encoder(store_item)
    axes = AxisWriter(encoder)
    about: About = {"format": 2, "rows": len(value)}
    described: list[dict[str, object]] = []
    if isinstance(value, pd.DataFrame):
        about["kind"] = "frame"
        _encode_frame(value, axes, about)
    elif isinstance(value, pd.Series):
        about["kind"], about["name"] = "series", encoder.encode(value.name, ".name")
        about["names"] = ["value"]
        array = value.array
        axes.columns["value"], stored = axes.arrays.to_arrow(array, _label(value.name))
        about["data"] = [stored]
    elif isinstance(value, pd.Index):
        about["kind"] = "index"
        names = ["value"] if value.nlevels == 1 else [f"level_{number}" for number in range(value.nlevels)]
        about["index"] = axes.write_columns(value, names)
    else:
        about["kind"], about["names"] = "array", ["value"]
        axes.columns["value"], stored = axes.arrays.to_arrow(value, "")
        about["data"] = [stored]
    if isinstance(value, pd.DataFrame | pd.Series):
        about["index"] = axes.write_columns(value.index, _level_names(value.index, axes.columns))
        described = _described_index(value.index, about["index"])
        _encode_extras(value, encoder, about)
    table = pa.table(list(axes.columns.values()), names=list(axes.columns))
    table = table.replace_schema_metadata(_for_pandas(table, about, described))
    lists = axes.arrays.lists
    if not lists:
        return EncodedFrame(table, None, about)
    return EncodedFrame(
        table, pa.table([_list(data) for data in lists], list(map(str, range(len(lists))))), about
    )


def _list(data: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.LargeListArray.from_arrays(pa.array([0, len(data)], pa.int64()), data)


def _label(name: object) -> str:
    return f"[{name!r:.80}]"


def _encode_frame(frame: pd.DataFrame, axes: AxisWriter, about: About) -> None:
    """Store the columns of a frame, under their own names where Parquet can have these."""
    import pandas as pd

    labels = frame.columns
    names = [f"c{number}" for number in range(len(labels))]
    if (isinstance(labels.dtype, pd.StringDtype) and labels.is_unique and not labels.hasnans) or (
        labels.dtype == object and all(type(label) is str for label in labels) and labels.is_unique
    ):
        texts = labels.tolist()
        if all(map(_is_plain, texts)):
            names = texts
    about["columns"] = axes.write_lists(labels, "columns")
    about["names"] = names
    about["data"] = []
    for name, (label, column) in zip(names, frame.items(), strict=True):
        axes.columns[name], stored = axes.arrays.to_arrow(column.array, _label(label))
        about["data"].append(stored)


def _is_plain(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _level_names(index: pd.Index, columns: dict[str, pa.Array]) -> list[str]:
    """Return names for the index's columns that no other column has."""
    names: list[str] = []
    for number, name in enumerate(index.names):
        own = name if isinstance(name, str) and name and _is_plain(name) else f"__index_level_{number}__"
        while own in columns or own in names:
            own += "_"
        names.append(own)
    return names


def _described_index(index: pd.Index, stored: StoredAxis) -> list[dict[str, object]]:
    """Return what the Parquet file says to pandas about the columns of the index."""
    return [
        {
            "name": name if isinstance(name, str) and _is_plain(name) else None,
            "field_name": column,
            "pandas_type": "unicode",
            "numpy_type": "object",
            "metadata": None,
        }
        for name, column in zip(index.names, stored.get("columns", []), strict=False)
    ]


def _for_pandas(table: pa.Table, about: About, described: list[dict[str, object]]) -> dict[str, str]:
    """Return the metadata by which `pandas.read_parquet` finds the index again."""
    import pandas as pd

    axis = about.get("index", {})
    index: list[object] = [column["field_name"] for column in described]
    if "range" in axis:
        start, stop, step = axis["range"]
        index = [{"kind": "range", "name": None, "start": start, "stop": stop, "step": step}]
    columns: list[dict[str, object]] = []
    for name, stored in zip(about.get("names", []), about.get("data", []), strict=True):
        dtype = stored["dtype"] if stored["how"] == "masked" else "object"
        columns.append(
            {"name": name, "field_name": name, "pandas_type": "", "numpy_type": dtype, "metadata": None}
        )
    document = {
        "index_columns": index if about["kind"] in ("frame", "series") else [],
        "column_indexes": [],
        "columns": [*columns, *described],
        "creator": {"library": "rayform", "version": "2"},
        "pandas_version": pd.__version__,
    }
    return {"pandas": json.dumps(document)}


def _encode_extras(value: pd.DataFrame | pd.Series, encoder: Encoder, about: About) -> None:
    import pandas as pd

    if value.attrs:
        about["attrs"] = encoder.encode(value.attrs, ".attrs")
    if not value.flags.allows_duplicate_labels:
        about["duplicates"] = False
    if type(value) not in (pd.DataFrame, pd.Series):
        further = {
            name: encoder.encode(getattr(value, name), f".{name}")
            for name in value._metadata
            if name not in ("_name", "name") and getattr(value, name, None) is not None
        }
        if further:
            about["further"] = further


def decode(encoded: EncodedFrame, decoder: Decoder, data_type: type) -> Any:
    """Return the value that `encode` turned into tables and a document; its type is `data_type` or what it was.

    The JSON forms in the document are decoded already.
    """
    import pandas as pd

    about = encoded.about
    columns = dict(zip(encoded.table.column_names, encoded.table.columns, strict=True))
    lists = [] if encoded.lists is None else [_flat(column) for column in encoded.lists.columns]
    axes = AxisReader(decoder, columns, lists)
    if about["kind"] == "index":
        return axes.read(about["index"])
    if about["kind"] == "frame" and about["data"] and all(map(_is_native, about["data"])):
        # Arrow makes one block of all columns, in parallel.
        value: Any = encoded.table.select(about["names"]).to_pandas(ignore_metadata=True)
        value.index = axes.read(about["index"])
        value.columns = axes.read(about["columns"])
        return _with_extras(value, about, data_type)
    arrays = [
        axes.arrays.from_arrow(columns[name], stored)
        for name, stored in zip(about["names"], about["data"], strict=True)
    ]
    if about["kind"] == "array":
        return _extension_array(arrays[0], data_type)
    index = axes.read(about["index"])
    if about["kind"] == "series":
        name: Any = about["name"]
        value = pd.Series(arrays[0], index=index, name=name, dtype=arrays[0].dtype, copy=True)
    else:
        # A series has the dtype `object` where pandas would guess another one from an array of objects.
        data = {
            number: pd.Series(array, index=index, dtype=object, copy=False) if _is_objects(array) else array
            for number, array in enumerate(arrays)
        }
        value = pd.DataFrame(data, index=index, copy=True)
        value.columns = axes.read(about["columns"])
    return _with_extras(value, about, data_type)


def _is_native(stored: StoredArray) -> bool:
    """Whether Arrow turns a column into a NumPy array of exactly this dtype."""
    import numpy as np

    return stored["how"] == "numpy" and np.dtype(stored["dtype"]).isnative


def _with_extras(value: Any, about: About, data_type: type) -> Any:
    """Return a frame or series as its subclass, with attributes and flags."""
    if data_type is not type(value) and issubclass(data_type, type(value)):
        value = data_type(value)
    for attribute, item in about.get("further", {}).items():
        object.__setattr__(value, attribute, item)
    if "attrs" in about:
        value.attrs = cast("dict[Any, Any]", about["attrs"])
    return value if about.get("duplicates", True) else value.set_flags(allows_duplicate_labels=False)


def _is_objects(array: Any) -> bool:
    import numpy as np

    return isinstance(array, np.ndarray) and array.dtype == object


def _flat(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks().flatten() if column.num_chunks != 1 else column.chunk(0).flatten()


def _extension_array(array: Any, data_type: type) -> Any:
    import numpy as np
    import pandas as pd

    # Copied, since neither the memory of Arrow's nor the array of an index can be written.
    if not isinstance(array, np.ndarray):
        return array.copy()
    if array.dtype.kind in "mM":
        return (pd.DatetimeIndex if array.dtype.kind == "M" else pd.TimedeltaIndex)(array).array.copy()
    return pd.arrays.NumpyExtensionArray(array.copy())


def refused(value: object, error: Exception) -> UsageError:
    """Return the error for a value that Parquet can't hold."""
    from rayform_runtime.artifacts.materializers.base import short

    return UsageError(
        f"A pandas {type(value).__name__} can't be stored.",
        why=short(" ".join(str(part) for part in error.args), 300),
        hint="Give each column one plain type, for instance frame['column'].astype(str).",
    )
