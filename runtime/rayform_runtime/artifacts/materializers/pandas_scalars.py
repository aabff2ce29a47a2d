"""Single values of pandas as JSON: times, periods, intervals, missing values; a part of `json_codec`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rayform_runtime.artifacts.materializers.zones import StoredZone, zone_form, zone_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DECODERS", "ENCODERS", "MEMBER_DECODERS"]


def _encode_timestamp(encoder: Any, value: pd.Timestamp, where: str) -> Any:
    return {
        "$timestamp": [value.tz_localize(None).isoformat(), zone_form(value, where), value.unit, value.fold]
    }


def _encode_pandas_timedelta(encoder: Any, value: pd.Timedelta, where: str) -> Any:
    return {"$pdtimedelta": [int(value.asm8.view("i8")), value.unit]}


def _encode_period(encoder: Any, value: pd.Period, where: str) -> Any:
    from pandas import PeriodDtype

    freq: Any = value.freq

    return {"$period": [value.ordinal, str(PeriodDtype(freq))]}


def _encode_interval(encoder: Any, value: pd.Interval, where: str) -> Any:
    ends = [
        encoder.encode(end, f"{where}.{name}")
        for end, name in zip((value.left, value.right), ("left", "right"), strict=True)
    ]
    return {"$interval": [*ends, value.closed]}


TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]


def _decode_timestamp(text: str, zone: StoredZone, unit: TimeUnit, fold: int) -> object:
    import pandas as pd

    naive = pd.Timestamp(text).as_unit(unit)
    tz = zone_of(zone)
    if tz is None:
        return naive
    return naive.tz_localize(tz, ambiguous=not fold, nonexistent="shift_forward")


def _decode_pandas_timedelta(count: int, unit: TimeUnit) -> object:
    import pandas as pd

    return pd.Timedelta(count, unit=unit).as_unit(unit)


def _decode_period(ordinal: int, dtype: str) -> object:
    import pandas as pd

    kind: Any = pd.api.types.pandas_dtype(dtype)
    return pd.Period(ordinal=ordinal, freq=kind.freq)


def _decode_interval(left: Any, right: Any, closed: Literal["left", "right", "both", "neither"]) -> object:
    import pandas as pd

    return pd.Interval(left, right, closed=closed)


def _decode_missing(name: str) -> object:
    import pandas as pd

    return {"NaT": pd.NaT, "NA": pd.NA}[name]


ENCODERS: dict[str, Callable[[Any, Any, str], Any]] = {}
# The import path of a pandas type is in the top package with pandas 3, and in the defining module with pandas 2.
for _place in ("pandas", "pandas._libs.tslibs.timestamps"):
    ENCODERS[_place + ":Timestamp"] = _encode_timestamp
for _place in ("pandas", "pandas._libs.tslibs.timedeltas"):
    ENCODERS[_place + ":Timedelta"] = _encode_pandas_timedelta
for _place in ("pandas", "pandas._libs.tslibs.period"):
    ENCODERS[_place + ":Period"] = _encode_period
for _place in ("pandas", "pandas._libs.interval"):
    ENCODERS[_place + ":Interval"] = _encode_interval
for _place in ("pandas.api.typing", "pandas._libs.tslibs.nattype", "pandas._libs.missing"):
    ENCODERS[_place + ":NaTType"] = lambda e, v, w: {"$pandas": "NaT"}
    ENCODERS[_place + ":NAType"] = lambda e, v, w: {"$pandas": "NA"}


DECODERS: dict[str, Callable[..., object]] = {"$pandas": _decode_missing}
MEMBER_DECODERS: dict[str, Callable[..., object]] = {
    "$timestamp": _decode_timestamp,
    "$pdtimedelta": _decode_pandas_timedelta,
    "$period": _decode_period,
    "$interval": _decode_interval,
}
