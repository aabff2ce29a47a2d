"""Indexes of pandas of every kind, with their names and frequencies."""

# Which keys a description has depends on its `kind`.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path, resolve
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder
from rayform_runtime.artifacts.materializers.pandas_arrays import ArrayReader, ArrayWriter, StoredArray
from rayform_runtime.artifacts.trust import resolve_stored

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["AxisReader", "AxisWriter", "StoredAxis"]


class StoredAxis(TypedDict, total=False):
    """How an index is stored.

    Args:
        kind: `range`, `labels` (the names of the columns in the Parquet file), `multi`, or `array`.
        names: the names of its levels; they may be any JSON form.
        range: start, stop and step.
        levels: of a `multi`, each described as an axis of its own.
        arrays: one array, or one per level with the values that the level's codes stand for.
        columns: the names in the Parquet file of the columns that hold the arrays; absent if they are lists.
        freq: the frequency of dates or durations.
    """

    kind: str
    names: list[JSON]
    range: list[int]
    levels: list[StoredAxis]
    arrays: list[StoredArray]
    columns: list[str]
    freq: JSON


class AxisWriter:
    """Describes indexes.

    Args:
        encoder: turns names into JSON.

    Attributes:
        arrays: turns the indexes' arrays into Arrow.
        columns: the columns of the Parquet file by name.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.arrays = ArrayWriter(encoder, self.write_lists)
        self.columns: dict[str, pa.Array] = {}

    def write_lists(self, index: pd.Index, where: str = "") -> StoredAxis:
        """Describe an index whose values go into lists."""
        return self._write(index, None, where)

    def write_columns(self, index: pd.Index, names: list[str]) -> StoredAxis:
        """Describe an index whose values go into columns with these names."""
        return self._write(index, names, "index")

    def _write(self, index: pd.Index, columns: list[str] | None, where: str) -> StoredAxis:
        import pandas as pd

        stored: StoredAxis = {"names": [self._encoder.encode(name, f"{where}.names") for name in index.names]}
        if isinstance(index, pd.RangeIndex):
            return {**stored, "kind": "range", "range": [index.start, index.stop, index.step]}
        if isinstance(index, pd.MultiIndex):
            pairs = [
                self.arrays.categories(codes, level, where)
                for codes, level in zip(index.codes, index.levels, strict=True)
            ]
            stored["kind"] = "multi"
        else:
            pairs = [self.arrays.to_arrow(index.array, where)]
            stored["kind"] = "array"
            freq = getattr(index, "freq", None)
            if freq is not None and not isinstance(index, pd.PeriodIndex):
                stored["freq"] = self._frequency(freq, where)
        stored["arrays"] = [description for _, description in pairs]
        if columns is None:
            for data, description in pairs:
                description["list"] = len(self.arrays.lists)
                self.arrays.lists.append(data)
        else:
            stored["columns"] = columns
            self.columns.update(zip(columns, (data for data, _ in pairs), strict=True))
        return stored

    def _frequency(self, freq: Any, where: str) -> JSON:
        from pandas.tseries.frequencies import to_offset

        try:
            if to_offset(freq.freqstr) == freq:
                return str(freq.freqstr)
        except (ValueError, AttributeError):
            pass  # the text of many offsets leaves something out
        arguments = {name: item for name, item in freq.kwds.items() if name != "calendar"}
        stored = self._encoder.encode(arguments, f"{where}.freq")
        path = import_path(type(freq))
        if type(freq)(freq.n, normalize=freq.normalize, **arguments) != freq or resolve(path) is not type(
            freq
        ):
            raise UsageError(
                f"The frequency {freq!r} of an index can't be stored{f' (at {where})' if where else ''}.",
                hint="Set index.freq = None; the dates themselves are kept.",
            )
        return [path, freq.n, freq.normalize, stored]


class AxisReader:
    """Builds indexes from their descriptions.

    Args:
        decoder: turns JSON into Python objects.
        columns: the columns of the Parquet file, by name.
        lists: the lists.
    """

    def __init__(self, decoder: Decoder, columns: dict[str, Any], lists: list[Any]) -> None:
        self.arrays = ArrayReader(decoder, lists, self.read)
        self._columns = columns
        self._lists = lists

    def read(self, stored: StoredAxis) -> pd.Index:
        """Return the index."""
        import pandas as pd

        names: Any = stored["names"]
        if stored["kind"] == "range":
            start, stop, step = stored["range"]
            return pd.RangeIndex(start, stop, step, name=names[0])
        parts = [
            (
                self._columns[stored["columns"][number]]
                if "columns" in stored
                else self._lists[description["list"]],
                description,
            )
            for number, description in enumerate(stored["arrays"])
        ]
        if stored["kind"] == "multi":
            levels: list[Any] = [self.read(description["index"]) for _, description in parts]
            codes: list[Any] = [
                self.arrays.codes(data, description, level)
                for (data, description), level in zip(parts, levels, strict=True)
            ]
            return pd.MultiIndex(levels=levels, codes=codes, names=names, verify_integrity=False)
        array = self.arrays.from_arrow(*parts[0])
        if stored["arrays"][0]["how"] == "times" and array.dtype.kind == "m":
            index: pd.Index = pd.TimedeltaIndex(array, name=names[0])
        elif stored["arrays"][0]["how"] == "times":
            index = pd.DatetimeIndex(array, name=names[0])
        else:
            index = pd.Index(array, dtype=array.dtype, name=names[0], copy=True)
        if "freq" in stored:
            index.freq = _offset(stored["freq"])  # type: ignore[attr-defined] # only of dates and durations
        return index


def _offset(stored: Any) -> Any:
    from pandas.tseries.frequencies import to_offset
    from pandas.tseries.offsets import BaseOffset

    if isinstance(stored, str):
        return to_offset(stored)
    path, n, normalize, arguments = stored
    kind = cast("Any", resolve_stored(path))
    if not (isinstance(kind, type) and issubclass(kind, BaseOffset)):
        raise ValueError(f"{path[:100]!r} is no frequency")
    return kind(n, normalize=normalize, **arguments)
