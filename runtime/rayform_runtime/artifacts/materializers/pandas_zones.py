"""Time zones of pandas as JSON: those of the standard library, pytz and dateutil."""

from __future__ import annotations

from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path
from rayform_runtime.artifacts.materializers.json_codec import JSON

__all__ = ["decode_zone", "encode_zone"]


def encode_zone(zone: Any, where: str) -> JSON:
    """Return the JSON form of a time zone.

    Raises:
        UsageError: it is of a type that can't be stored.
    """
    from datetime import timezone

    module = type(zone).__module__
    key = getattr(zone, "key", None)
    if isinstance(key, str) and module.startswith("zoneinfo"):
        return ["zoneinfo", key]
    if type(zone) is timezone:
        return ["offset", zone.utcoffset(None).total_seconds(), zone.tzname(None)]
    if module.startswith("pytz"):
        name = getattr(zone, "zone", None)
        minutes = getattr(zone, "_minutes", None)
        if isinstance(name, str):
            return ["pytz", name]
        if isinstance(minutes, int):
            return ["pytz offset", minutes]
    if module.startswith("dateutil"):
        file = getattr(zone, "_filename", None)
        if type(zone).__name__ == "tzutc":
            return ["dateutil utc"]
        if isinstance(file, str):
            return ["dateutil", file]
    raise UsageError(
        f"A time with zone {zone!r:.100} can't be stored{f' (at {where})' if where else ''}.",
        why=f"Its zone is of type '{import_path(type(zone))}'.",
        hint="Use a named zone, for instance column.dt.tz_convert('Europe/Berlin') or .tz_convert('UTC').",
    )


def decode_zone(stored: Any) -> Any:
    """Return the time zone that `encode_zone` turned into JSON."""
    from datetime import UTC, timedelta, timezone
    from importlib import import_module

    how, *rest = stored
    if how == "zoneinfo":
        from zoneinfo import ZoneInfo

        return ZoneInfo(rest[0])
    if how == "offset":
        offset, name = timedelta(seconds=rest[0]), rest[1]
        if not offset and name == "UTC":
            return UTC
        zone = timezone(offset)
        return zone if zone.tzname(None) == name else timezone(offset, name)
    if how == "pytz":
        return import_module("pytz").timezone(rest[0])
    if how == "pytz offset":
        return import_module("pytz").FixedOffset(rest[0])
    zones = import_module("dateutil.tz")
    if how == "dateutil utc":
        return zones.tzutc()
    zone = zones.gettz(rest[0])
    if zone is None:
        raise ValueError(f"there is no time zone {str(rest[0])[:100]!r}")
    return zone
