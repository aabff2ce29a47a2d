"""pandas frames, series, indexes and arrays as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_runtime.artifacts.materializers.base import Materializer, NotProvedError, needs, short
from rayform_runtime.artifacts.materializers.items import (
    ItemReader,
    ItemWriter,
    RecordedItems,
    SameItems,
)
from rayform_runtime.artifacts.materializers.json_codec import Decoder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from rayform_runtime.artifacts.materializers.pandas_codec import EncodedFrame

__all__ = ["PandasMaterializer"]

_FRAME, _LISTS, _ABOUT = "frame.parquet", "lists.parquet", "frame.json"
_MOST_CELLS = 2_000_000
_PROVED_BYTES, _PROVED_CELLS, _PROVED_ROWS = 1 << 20, 20_000, 50
"""Of values with more bytes or cells, the files' structure and the first rows are proved."""


class PandasMaterializer(Materializer):
    """Stores data frames, series, indexes and arrays with every dtype and every kind of index.

    `frame.parquet` has the columns, and those of the index. `frame.json` says what Parquet can't: exact dtypes, names
    that aren't strings, frequencies. `lists.parquet` has arrays of other lengths: categories, levels, column names.
    """

    def __init__(self) -> None:
        self._originals: list[object] = []

    def save(self, value: Any, folder: Path) -> None:
        """Write Parquet.

        Raises:
            UsageError: a column can't be stored, for instance one with objects that no materializer takes.
        """
        with needs("pandas"):
            import pyarrow as pa
        from rayform_runtime.artifacts.materializers.pandas_codec import encode, refused

        items = ItemWriter(folder, name=type(value).__name__)
        self._originals = items.originals
        try:
            encoded = encode(value, items.store)
            _write(encoded.table, folder / _FRAME)
            if encoded.lists is not None:
                _write(encoded.lists, folder / _LISTS)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise refused(value, error) from error
        items.close()
        (folder / _ABOUT).write_text(json.dumps(encoded.about), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> Any:
        """Read Parquet."""
        return _read(folder, Decoder(ItemReader(folder).load), data_type)

    def prove(self, value: Any, folder: Path) -> None:
        """Read the files again and compare; of a large value, the Parquet file's structure and the first rows.

        Raises:
            NotProvedError: what was written isn't the value.
        """
        import pyarrow.parquet as pq

        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        try:
            if size <= _PROVED_BYTES and value.size <= _PROVED_CELLS:
                same = SameItems(self._originals)
                problem = _difference(value, _read(folder, Decoder(same.load), type(value)), same)
            else:
                about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
                rows = pq.ParquetFile(folder / _FRAME).metadata.num_rows
                problem = _difference_of_start(value)
                if rows != about["rows"]:
                    problem = f"The Parquet file has {rows} rows, and the value has {about['rows']}."
        except Exception as error:
            raise NotProvedError.of(value, f"{type(error).__name__}: {error}", _HINT) from error
        if problem:
            raise NotProvedError.of(value, problem, _HINT)

    def extract_metadata(self, value: Any) -> dict[str, object]:
        """Return shape, columns with their types, bytes, missing values, and ranges of numbers."""
        import pandas as pd

        from rayform_runtime.artifacts.materializers.numbers import statistics

        facts: dict[str, object] = {"shape": list(value.shape), "rows": len(value)}
        if not isinstance(value, pd.DataFrame | pd.Series):
            return {**facts, "nbytes": int(value.nbytes), "dtype": str(value.dtype)}
        frame = (
            value.to_frame(name=value.name if value.name is not None else "value")
            if isinstance(value, pd.Series)
            else value
        )
        facts["nbytes"] = int(frame.memory_usage(index=True, deep=False).sum())
        if frame.shape[1] > 500:
            return facts
        facts["columns"] = {
            _shown(name): str(dtype) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
        }
        facts["missing"] = {_shown(name): int(count) for name, count in frame.isna().sum().items() if count}
        ranges = {}
        for number, name in enumerate(frame.columns):
            if getattr(frame.dtypes.iloc[number], "kind", "O") in "iuf" and len(frame):
                array = frame.iloc[:, number].to_numpy()
                if array.dtype.kind in "iuf":
                    ranges[_shown(name)] = statistics(array)
        if ranges:
            facts["statistics"] = ranges
        return facts

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Write `describe()`, and the first rows, of a frame or a series."""
        import pandas as pd

        if not (isinstance(value, pd.DataFrame | pd.Series) and len(value)):
            return {}
        cells = value.size
        described = value if cells <= _MOST_CELLS else value.iloc[:: -(-cells // _MOST_CELLS)]
        name = "describe.csv" if cells <= _MOST_CELLS else "describe-sample.csv"
        table = (
            described.describe() if isinstance(described, pd.Series) else described.describe(include="all")
        )
        table.to_csv(folder / name)
        first = value.head(20)
        head = first.to_frame() if isinstance(first, pd.Series) else first.iloc[:, :50]
        (folder / "head.html").write_text(head.to_html(border=0), encoding="utf-8")
        return {name: "csv", "head.html": "html"}

    def summary(self, value: Any) -> str:
        """Return the shape and the first columns."""
        if value.ndim == 1:
            name = type(value).__name__
            return short(f"{name} {value.dtype} of {len(value):,} {'rows' if name == 'Series' else 'items'}")
        names = ", ".join(_shown(column) for column in value.columns[:8])
        return short(f"DataFrame {len(value):,} x {value.shape[1]} ({names})")


def _shown(name: object) -> str:
    """Return a column's name as the catalog can keep it: without lone surrogates."""
    text = str(name)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


_HINT = "Give each column one plain type, for instance frame['column'].astype(str), or reset the index."


def _write(table: pa.Table, sink: object) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, sink, compression="zstd", compression_level=1)


def _table(path: Path) -> pa.Table:
    with needs("pandas"):
        import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=True, pre_buffer=True) as file:
        return file.read()


def _read(folder: Path, decoder: Decoder, data_type: type) -> Any:
    from rayform_runtime.artifacts.materializers.pandas_codec import EncodedFrame, decode

    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"), object_hook=decoder.hook)
    if "format" not in about:
        from rayform_runtime.artifacts.materializers.pandas_first_format import load_first_format

        return load_first_format(folder / _FRAME, about, data_type)
    lists = folder / _LISTS
    return decode(
        EncodedFrame(_table(folder / _FRAME), _table(lists) if lists.exists() else None, about),
        decoder,
        data_type,
    )


def _content(encoded: EncodedFrame) -> list[bytes]:
    """Return the content of the files that the value is stored in."""
    import pyarrow as pa

    contents = [json.dumps(encoded.about).encode()]
    for table in (encoded.table, encoded.lists):
        if table is not None:
            sink = pa.BufferOutputStream()
            _write(table, sink)
            contents.append(sink.getvalue().to_pybytes())
    return contents


def _difference(value: Any, loaded: Any, same: SameItems) -> str:
    """Return in one sentence how a loaded value differs from the one that was saved, or an empty text."""
    import pandas as pd

    from rayform_runtime.artifacts.materializers.pandas_codec import encode

    if type(loaded) is not type(value):
        return f"It would be loaded as a '{type(loaded).__name__}'."
    before: Any
    after: Any
    for axis in ("index", "columns"):
        before, after = getattr(value, axis, None), getattr(loaded, axis, None)
        if isinstance(before, pd.Index) and (
            type(before) is not type(after) or not _is_same_dtype(before.dtype, after.dtype)
        ):
            return f"Its {axis} would be loaded as a '{type(after).__name__}' of another dtype."
    if isinstance(value, pd.DataFrame):
        for number, (before, after) in enumerate(zip(value.dtypes, loaded.dtypes, strict=True)):
            if not _is_same_dtype(before, after):
                name = value.columns[number]
                return f"Column {name!r:.80} has dtype '{before}' and would be loaded as '{after}'."
    elif not _is_same_dtype(value.dtype, loaded.dtype):
        return f"Its dtype is '{value.dtype}', and it would be loaded as '{loaded.dtype}'."
    original = SameItems(same.originals)
    if _content(encode(value, original.store)) != _content(encode(loaded, same.store)):
        return "Some of its values would be loaded as others."
    return ""


def _is_same_dtype(before: Any, after: Any) -> bool:
    """Whether two dtypes are equal; the members of categories are compared with the content."""
    import pandas as pd

    if isinstance(before, pd.CategoricalDtype) and isinstance(after, pd.CategoricalDtype):
        # pandas compares the members as a set, which fails for members such as lists, and for some mixed ones.
        categories = type(before.categories), type(after.categories)
        return before.ordered == after.ordered and categories[0] is categories[1]
    return bool(before == after)


def _of_each_dtype(frame: pd.DataFrame) -> list[int]:
    """Return the positions of columns that stand for all: one of each dtype, and each that holds objects."""
    first: dict[object, int] = {}
    for number, dtype in enumerate(frame.dtypes):
        first.setdefault(number if str(dtype) == "object" else dtype, number)
    return sorted(first.values())


def _difference_of_start(value: Any) -> str:
    """Store and load the first rows in memory, and return how they differ."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rayform_runtime.artifacts.materializers.pandas_codec import EncodedFrame, decode, encode

    start = value[:_PROVED_ROWS] if value.ndim == 1 else value.iloc[:_PROVED_ROWS, _of_each_dtype(value)]
    items = RecordedItems()
    decoder = Decoder(items.load)
    about, *contents = _content(encode(start, items.store))
    tables = [pq.ParquetFile(pa.BufferReader(content)).read() for content in contents]
    encoded = EncodedFrame(
        tables[0],
        tables[1] if len(tables) > 1 else None,
        json.loads(about, object_hook=decoder.hook),
    )
    return _difference(start, decode(encoded, decoder, type(value)), SameItems(items.originals))
