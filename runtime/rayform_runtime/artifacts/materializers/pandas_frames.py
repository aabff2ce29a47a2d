"""pandas data frames and series as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.base import Materializer, needs, short

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PandasMaterializer"]

_FRAME, _ABOUT = "frame.parquet", "frame.json"
_MOST_CELLS = 2_000_000


class PandasMaterializer(Materializer):
    """Stores data frames and series with their index, column types, categories and time zones."""

    def save(self, value: pd.DataFrame | pd.Series, folder: Path) -> None:
        """Write Parquet.

        Raises:
            UsageError: Parquet can't store a column, for instance one of mixed types.
        """
        with needs("pandas"):
            import pyarrow as pa
            import pyarrow.parquet as pq
        import pandas as pd

        frame = value.to_frame(name="value") if isinstance(value, pd.Series) else value
        about: dict[str, object] = {
            "series": isinstance(value, pd.Series),
            "dtypes": [str(dtype) for dtype in frame.dtypes],
        }
        if isinstance(value, pd.Series):
            from rayform_runtime.artifacts.materializers.json_codec import Encoder

            about["name"] = Encoder(_no_item).encode(value.name)
        elif not all(type(column) is str for column in frame.columns) or frame.columns.has_duplicates:
            # Column names in Parquet are unique strings, so the real names are stored separately.
            from rayform_runtime.artifacts.materializers.json_codec import Encoder

            encoder = Encoder(_no_item)
            about["columns"] = [encoder.encode(column) for column in frame.columns]
            about["column_levels"] = [encoder.encode(name) for name in frame.columns.names]
            about["multi"] = isinstance(frame.columns, pd.MultiIndex)
            frame = frame.copy(deep=False)
            frame.columns = pd.Index([f"c{number}" for number in range(frame.shape[1])])
        try:
            table = pa.Table.from_pandas(frame)
            pq.write_table(table, folder / _FRAME, compression="zstd", compression_level=1)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(
                f"A pandas {type(value).__name__} can't be stored.",
                why=short(" ".join(str(part) for part in error.args), 300),
                hint="Give each column one plain type, for instance frame['column'].astype(str).",
            ) from error
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> pd.DataFrame | pd.Series:
        """Read Parquet."""
        with needs("pandas"):
            import pyarrow.parquet as pq
        import pandas as pd

        from rayform_runtime.artifacts.materializers.json_codec import Decoder

        about = json.loads(
            (folder / _ABOUT).read_text(encoding="utf-8"), object_hook=Decoder(lambda number: None).hook
        )
        frame = pq.read_table(folder / _FRAME).to_pandas()
        for number, dtype in enumerate(about["dtypes"]):
            if str(frame.dtypes.iloc[number]) != dtype:
                frame.isetitem(number, frame.iloc[:, number].astype(dtype))
        if about["series"]:
            series = frame["value"].rename(about["name"])
            return (
                series
                if data_type is pd.Series or not issubclass(data_type, pd.Series)
                else data_type(series)
            )
        if "columns" in about:
            frame.columns = (
                pd.MultiIndex.from_tuples(about["columns"], names=about["column_levels"])
                if about["multi"]
                else pd.Index(about["columns"], name=about["column_levels"][0])
            )
        return (
            frame
            if data_type is pd.DataFrame or not issubclass(data_type, pd.DataFrame)
            else data_type(frame)
        )

    def extract_metadata(self, value: pd.DataFrame | pd.Series) -> dict[str, object]:
        """Return shape, columns with their types, bytes, missing values, and ranges of numbers."""
        import pandas as pd

        from rayform_runtime.artifacts.materializers.numbers import statistics

        frame = (
            value.to_frame(name=value.name if value.name is not None else "value")
            if isinstance(value, pd.Series)
            else value
        )
        facts: dict[str, object] = {
            "shape": list(value.shape),
            "rows": len(frame),
            "nbytes": int(frame.memory_usage(index=True, deep=False).sum()),
        }
        if frame.shape[1] > 500:
            return facts
        facts["columns"] = {
            str(name): str(dtype) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
        }
        facts["missing"] = {str(name): int(count) for name, count in frame.isna().sum().items() if count}
        ranges = {}
        for number, name in enumerate(frame.columns):
            if getattr(frame.dtypes.iloc[number], "kind", "O") in "iuf" and len(frame):
                array = frame.iloc[:, number].to_numpy()
                if array.dtype.kind in "iuf":
                    ranges[str(name)] = statistics(array)
        if ranges:
            facts["statistics"] = ranges
        return facts

    def save_visualizations(self, value: pd.DataFrame | pd.Series, folder: Path) -> dict[str, str]:
        """Write `describe()`, and the first rows."""
        if not len(value):
            return {}
        import pandas as pd

        cells = value.size
        described = value if cells <= _MOST_CELLS else value.iloc[:: -(-cells // _MOST_CELLS)]
        name = "describe.csv" if cells <= _MOST_CELLS else "describe-sample.csv"
        described.describe(include="all").to_csv(folder / name)
        first = value.head(20)
        head = first.to_frame() if isinstance(first, pd.Series) else first.iloc[:, :50]
        (folder / "head.html").write_text(head.to_html(border=0), encoding="utf-8")
        return {name: "csv", "head.html": "html"}

    def summary(self, value: pd.DataFrame | pd.Series) -> str:
        """Return the shape and the first columns."""
        if value.ndim == 1:
            return short(f"Series {value.dtype} of {len(value):,} rows")
        names = ", ".join(str(column) for column in value.columns[:8])
        return short(f"DataFrame {len(value):,} x {value.shape[1]} ({names})")


def _no_item(value: object, where: str) -> int:
    raise UsageError(
        f"A pandas name of type '{type(value).__name__}' can't be stored.",
        hint="Use strings, numbers, dates or tuples of these as names of columns and series.",
    )
