"""Settings of orchestrators and step operators that Rayform doesn't have: accepted, reported once per run, ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

__all__ = ["ForeignSettings", "foreign_settings"]


class ForeignSettings(Mapping[str, object]):
    """Settings that only ZenML's orchestrators follow. They keep their fields; a run reports that it ignores them."""

    def __init__(self, **fields: object) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> object:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __getattr__(self, name: str) -> object:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._fields.items())})"


@lru_cache(maxsize=256)
def foreign_settings(name: str) -> type[ForeignSettings]:
    """Return the class of such settings with ZenML's name, such as `KubernetesOrchestratorSettings`."""
    return type(name, (ForeignSettings,), {"__doc__": ForeignSettings.__doc__, "__module__": __name__})
