"""Polars data frames and series as Arrow files, which keep all of their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.base import Materializer, short

__all__ = ["PolarsMaterializer"]

_FRAME, _SERIES = "frame.arrow", "series.json"


class PolarsMaterializer(Materializer):
    """Stores data frames and series."""

    def save(self, value: Any, folder: Path) -> None:
        """Write an Arrow file.

        Raises:
            UsageError: a column holds Python objects.
        """
        import polars as pl

        frame = value
        if isinstance(value, pl.Series):
            frame = value.to_frame("value")
            (folder / _SERIES).write_text(json.dumps({"name": value.name}), encoding="utf-8")
        objects = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
        if objects:
            raise UsageError(
                f"A Polars {type(value).__name__} can't be stored.",
                why=f"Column '{objects[0]}' holds Python objects, which could only be pickled.",
                hint="Give it a plain type, for instance frame.with_columns(pl.col(...).map_elements(str)).",
            )
        frame.write_ipc(folder / _FRAME, compression="uncompressed")

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the Arrow file."""
        import polars as pl

        # Not mapped: Polars takes its data for its own, and the file may be evicted from a cache meanwhile.
        frame = pl.read_ipc(folder / _FRAME, memory_map=False)
        about = folder / _SERIES
        if about.exists():
            return frame.to_series().alias(json.loads(about.read_text(encoding="utf-8"))["name"])
        return frame

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return shape, columns with their types, bytes, and missing values."""
        import polars as pl

        frame = value.to_frame() if isinstance(value, pl.Series) else value
        known: dict[str, Any] = {
            "shape": list(value.shape),
            "rows": len(frame),
            "nbytes": int(frame.estimated_size()),
        }
        if frame.width <= 500:
            known["columns"] = {name: str(dtype) for name, dtype in frame.schema.items()}
            known["missing"] = {
                name: frame[name].null_count() for name in frame.columns if frame[name].null_count()
            }
        return known

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Write `describe()` of at most a million values."""
        if not len(value):
            return {}
        cells = len(value) * (value.width if hasattr(value, "width") else 1)
        described = value if cells <= 1_000_000 else value.gather_every(-(-cells // 1_000_000))
        name = "describe.csv" if cells <= 1_000_000 else "describe-sample.csv"
        described.describe().write_csv(folder / name)
        return {name: "csv"}

    def summary(self, value: Any) -> str:
        """Return the shape and the first columns."""
        if not hasattr(value, "columns"):
            return short(f"Series {value.dtype} of {len(value):,} rows")
        return short(f"DataFrame {value.height:,} x {value.width} ({', '.join(value.columns[:8])})")
