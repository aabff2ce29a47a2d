"""Values of the standard library that are small and rarely stored, as JSON; a part of `json_codec`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta, timezone
from typing import Any

from rayform_core.errors import UsageError

__all__ = ["DECODERS", "ENCODERS", "MEMBER_DECODERS", "TYPES"]

_ADDRESSES = (
    "IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface",
)  # fmt: skip
TYPES = (
    *(f"ipaddress:{name}" for name in _ADDRESSES),
    "re:Pattern",
    "datetime:timezone",
    "zoneinfo:ZoneInfo",
    "builtins:slice",
    "builtins:ellipsis",
    "types:SimpleNamespace",
    "builtins:mappingproxy",
    "array:array",
    "collections:ChainMap",
)
"""Import paths of the types."""


def _zone(encoder: Any, value: Any, where: str) -> Any:
    if value.key is None:
        raise UsageError(
            f"A time zone without a key can't be stored{f' (at {where})' if where else ''}.",
            hint="Make it with `zoneinfo.ZoneInfo(key)`.",
        )
    return {"$zone": value.key}


ENCODERS: dict[str, Callable[[Any, Any, str], Any]] = {
    **{f"ipaddress:{name}": lambda e, v, w: {"$address": [type(v).__name__, str(v)]} for name in _ADDRESSES},
    "re:Pattern": lambda e, v, w: {"$pattern": [e.encode(v.pattern, w), v.flags]},
    "datetime:timezone": lambda e, v, w: {"$timezone": [v.utcoffset(None).total_seconds(), v.tzname(None)]},
    "zoneinfo:ZoneInfo": _zone,
    "builtins:slice": lambda e, v, w: {
        "$slice": [e.encode(v.start, w), e.encode(v.stop, w), e.encode(v.step, w)]
    },
    "builtins:ellipsis": lambda e, v, w: {"$ellipsis": []},
    "types:SimpleNamespace": lambda e, v, w: {"$namespace": e._pairs(vars(v), w)},
    "builtins:mappingproxy": lambda e, v, w: {"$mappingproxy": e._pairs(v, w)},
    "array:array": lambda e, v, w: {"$array": [v.typecode, e.encode(v.tolist(), w)]},
    "collections:ChainMap": lambda e, v, w: {"$chainmap": [e.encode(each, w) for each in v.maps]},
}


def _address(name: str, text: str) -> object:
    import ipaddress

    if name not in _ADDRESSES:
        raise ValueError(f"{name!r} is no address")
    return getattr(ipaddress, name)(text)


def _pattern(pattern: str | bytes, flags: int) -> object:
    import re

    return re.compile(pattern, flags)


def _timezone(offset: float, name: str) -> timezone:
    zone = timezone(timedelta(seconds=offset))
    if not offset and name == "UTC":
        return UTC
    return zone if zone.tzname(None) == name else timezone(timedelta(seconds=offset), name)


def _zone_info(key: str) -> object:
    from zoneinfo import ZoneInfo

    return ZoneInfo(key)


def _namespace(pairs: Any) -> object:
    from types import SimpleNamespace

    return SimpleNamespace(**dict(pairs))


def _mapping_proxy(pairs: Any) -> object:
    from types import MappingProxyType

    return MappingProxyType(dict(pairs))


def _array(code: str, values: Any) -> object:
    from array import array

    return array(code, values)


def _chain_map(*maps: Any) -> object:
    from collections import ChainMap

    return ChainMap(*maps)


DECODERS: dict[str, Callable[..., object]] = {
    "$zone": _zone_info,
    "$namespace": _namespace,
    "$mappingproxy": _mapping_proxy,
}
MEMBER_DECODERS: dict[str, Callable[..., object]] = {
    "$address": _address,
    "$pattern": _pattern,
    "$timezone": _timezone,
    "$slice": slice,
    "$ellipsis": lambda: ...,
    "$array": _array,
    "$chainmap": _chain_map,
}
