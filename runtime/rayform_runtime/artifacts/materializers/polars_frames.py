"""Polars data frames and series as Arrow files, which keep all of their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.base import Materializer, short

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PolarsMaterializer"]

_FRAME, _SERIES = "frame.arrow", "series.json"


class PolarsMaterializer(Materializer):
    """Stores data frames and series."""

    def save(self, value: pl.DataFrame | pl.Series, folder: Path) -> None:
        """Write an Arrow file.

        Raises:
            UsageError: a column holds Python objects.
        """
        import polars as pl

        frame = _frame(value, "value")
        if isinstance(value, pl.Series):
            (folder / _SERIES).write_text(json.dumps({"name": value.name}), encoding="utf-8")
        objects = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
        if objects:
            raise UsageError(
                f"A Polars {type(value).__name__} can't be stored.",
                why=f"Column '{objects[0]}' holds Python objects, which could only be pickled.",
                hint="Give it a plain type, for instance frame.with_columns(pl.col(...).map_elements(str)).",
            )
        frame.write_ipc(folder / _FRAME, compression="uncompressed")

    def load(self, folder: Path, data_type: type) -> pl.DataFrame | pl.Series:
        """Read the Arrow file."""
        import polars as pl

        # Not mapped: Polars expects to own its data, and the cache may evict the file meanwhile.
        frame = pl.read_ipc(folder / _FRAME, memory_map=False)
        about = folder / _SERIES
        if about.exists():
            return frame.to_series().alias(json.loads(about.read_text(encoding="utf-8"))["name"])
        return frame

    def extract_metadata(self, value: pl.DataFrame | pl.Series) -> dict[str, object]:
        """Return shape, columns with their types, bytes, and missing values."""
        frame = _frame(value)
        facts: dict[str, object] = {
            "shape": list(value.shape),
            "rows": len(frame),
            "nbytes": int(frame.estimated_size()),
        }
        if frame.width <= 500:
            facts["columns"] = {name: str(dtype) for name, dtype in frame.schema.items()}
            facts["missing"] = {
                name: frame[name].null_count() for name in frame.columns if frame[name].null_count()
            }
        return facts

    def save_visualizations(self, value: pl.DataFrame | pl.Series, folder: Path) -> dict[str, str]:
        """Write `describe()` of at most a million values."""
        if not len(value):
            return {}
        cells = len(value) * _frame(value).width
        described = value if cells <= 1_000_000 else value.gather_every(-(-cells // 1_000_000))
        name = "describe.csv" if cells <= 1_000_000 else "describe-sample.csv"
        described.describe().write_csv(folder / name)
        return {name: "csv"}

    def summary(self, value: pl.DataFrame | pl.Series) -> str:
        """Return the shape and the first columns."""
        import polars as pl

        if isinstance(value, pl.Series):
            return short(f"Series {value.dtype} of {len(value):,} rows")
        return short(f"DataFrame {value.height:,} x {value.width} ({', '.join(value.columns[:8])})")


def _frame(value: pl.DataFrame | pl.Series, name: str | None = None) -> pl.DataFrame:
    import polars as pl

    return value.to_frame(name) if isinstance(value, pl.Series) else value
