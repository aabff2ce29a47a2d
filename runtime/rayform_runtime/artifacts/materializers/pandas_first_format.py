"""pandas values that were stored before `frame.json` said how each column is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["load_first_format"]


def load_first_format(path: Path, about: dict[str, Any], data_type: type) -> Any:
    """Return a frame or a series from a Parquet file and the document next to it."""
    import pandas as pd
    import pyarrow.parquet as pq

    frame = pq.read_table(path).to_pandas()
    for number, dtype in enumerate(about["dtypes"]):
        if str(frame.dtypes.iloc[number]) != dtype:
            frame.isetitem(number, frame.iloc[:, number].astype(dtype))
    if about["series"]:
        series = frame["value"].rename(about["name"])
        plain = data_type is pd.Series or not issubclass(data_type, pd.Series)
        return series if plain else data_type(series)
    if "columns" in about:
        frame.columns = (
            pd.MultiIndex.from_tuples(about["columns"], names=about["column_levels"])
            if about["multi"]
            else pd.Index(about["columns"], name=about["column_levels"][0])
        )
    plain = data_type is pd.DataFrame or not issubclass(data_type, pd.DataFrame)
    return frame if plain else data_type(frame)
