"""Time zones of the standard library as JSON; a part of `json_codec`."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import Any, TypeAlias

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path

__all__ = ["StoredZone", "zone_form", "zone_of"]

StoredZone: TypeAlias = "str | tuple[float, str] | tuple[str, float | str] | None"
"""A time zone: its key; the offset in seconds and the name of a fixed one; or a library's name and what it needs."""

_PYDANTIC, _DATEUTIL, _DATEUTIL_UTC = "pydantic", "dateutil", "dateutil utc"


def zone_of(stored: StoredZone) -> tzinfo | None:
    """Return the zone that `zone_form` turned into JSON."""
    if stored is None:
        return None
    if isinstance(stored, str):
        from zoneinfo import ZoneInfo

        return ZoneInfo(stored)
    if isinstance(stored[0], str):
        return _library_zone(stored[0], stored[1])
    offset, name = timedelta(seconds=stored[0]), str(stored[1])
    if not offset and name == "UTC":
        return UTC
    zone = timezone(offset)
    return zone if zone.tzname(None) == name else timezone(offset, name)


def zone_form(value: datetime | time, where: str) -> Any:
    """Return the zone of a time as JSON: its key, or the offset in seconds and the name of a fixed one.

    Raises:
        UsageError: it is of a type that can't be stored.
    """
    zone = value.tzinfo
    if zone is None:
        return None
    key = getattr(zone, "key", None)
    if isinstance(key, str) and type(zone).__module__.startswith("zoneinfo"):
        return key
    if type(zone) is timezone:
        return [zone.utcoffset(None).total_seconds(), zone.tzname(None)]
    module = type(zone).__module__
    if module.startswith("pydantic_core"):  # of text such as "2026-01-31T12:00Z" that pydantic has read
        offset = zone.utcoffset(None)
        return [_PYDANTIC, offset.total_seconds() if offset else 0.0]
    if module.startswith("dateutil"):
        file = getattr(zone, "_filename", None)
        if type(zone).__name__ == "tzutc":
            return [_DATEUTIL_UTC, ""]
        if isinstance(file, str):
            return [_DATEUTIL, file]
    raise UsageError(
        f"A time with zone {zone!r} can't be stored{f' (at {where})' if where else ''}.",
        why=f"Its zone is of type '{import_path(type(zone))}'.",
        hint="Use `zoneinfo.ZoneInfo` or `datetime.timezone`, for instance value.astimezone(timezone.utc).",
    )


def _library_zone(library: str, stored: float | str) -> tzinfo | None:
    from importlib import import_module

    if library == _PYDANTIC:
        from pydantic_core import TzInfo

        return TzInfo(float(stored))
    if library not in (_DATEUTIL, _DATEUTIL_UTC):
        raise ValueError(f"{library!r} names no time zones")
    zones: Any = import_module("dateutil.tz")
    zone: tzinfo | None = zones.tzutc() if library == _DATEUTIL_UTC else zones.gettz(stored)
    return zone
