"""PyArrow tables and record batches as Arrow files, which are mapped into memory when loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.artifacts.materializers.base import Materializer, short

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrowMaterializer"]

_FILE = "table.arrow"


class ArrowMaterializer(Materializer):
    """Stores tables and record batches. Arrow data can't be changed, so mapping the file is safe."""

    def save(self, value: pa.Table | pa.RecordBatch, folder: Path) -> None:
        """Write an Arrow file."""
        import pyarrow as pa

        with pa.OSFile(str(folder / _FILE), "wb") as sink, pa.ipc.new_file(sink, value.schema) as writer:
            writer.write(value)

    def load(self, folder: Path, data_type: type) -> pa.Table | pa.RecordBatch:
        """Map the Arrow file."""
        import pyarrow as pa

        with pa.memory_map(str(folder / _FILE)) as source:
            table = pa.ipc.open_file(source).read_all()
        if issubclass(data_type, pa.RecordBatch):
            batches = table.combine_chunks().to_batches()
            return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        return table

    def extract_metadata(self, value: pa.Table | pa.RecordBatch) -> dict[str, object]:
        """Return shape, columns with their types, bytes, and missing values."""
        names = value.schema.names
        facts: dict[str, object] = {
            "shape": [value.num_rows, value.num_columns],
            "rows": value.num_rows,
            "nbytes": int(value.nbytes),
        }
        if len(names) <= 500:
            facts["columns"] = {field.name: str(field.type) for field in value.schema}
            facts["missing"] = {
                name: value.column(number).null_count
                for number, name in enumerate(names)
                if value.column(number).null_count
            }
        return facts

    def save_visualizations(self, value: pa.Table | pa.RecordBatch, folder: Path) -> dict[str, str]:
        """Write the first rows."""
        if not value.num_rows:
            return {}
        import csv
        import io

        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(value.schema.names)
        head = value.slice(0, 20)
        columns = [[str(item)[:200] for item in column.to_pylist()] for column in head.columns]
        writer.writerows(zip(*columns, strict=True))
        (folder / "head.csv").write_text(text.getvalue(), encoding="utf-8")
        return {"head.csv": "csv"}

    def summary(self, value: pa.Table | pa.RecordBatch) -> str:
        """Return the shape and the first columns."""
        names = ", ".join(value.schema.names[:8])
        return short(f"{type(value).__name__} {value.num_rows:,} x {value.num_columns} ({names})")
