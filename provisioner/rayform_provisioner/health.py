"""The health of a deployed stack, as the cloud's `health` reports it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ComponentHealth", "StackHealth"]


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One component: `state` is `healthy`, `asleep`, `starting`, `missing` or `unreachable`."""

    component: str
    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StackHealth:
    """The health of a stack now.

    Args:
        components: one for each kind.
        workers: instance type to how many of Ray's workers run.
        hourly: dollars an hour, as it runs now; an estimate.
    """

    components: list[ComponentHealth]
    workers: dict[str, int]
    hourly: float

    @property
    def healthy(self) -> bool:
        """Whether every component is healthy, or asleep on purpose."""
        return all(item.state in ("healthy", "asleep") for item in self.components)
