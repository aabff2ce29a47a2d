"""What a stack costs, line by line, in US dollars; the cloud's `estimate` fills it in."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["HOURS_A_MONTH", "CostEstimate", "CostLine"]

HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True)
class CostLine:
    """One thing that costs money, in US dollars an hour.

    Args:
        what: the thing.
        always: what it costs while the stack exists, even asleep.
        awake: what it costs in addition while the head runs.
        most: what it costs in addition while every worker group is at its maximum.
    """

    what: str
    always: float = 0.0
    awake: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a stack costs, without traffic, requests and stored data.

    Args:
        lines: one for each thing.
        as_of: the day of the prices.
        unknown: things without a price in the table, which the sums leave out.
    """

    lines: list[CostLine]
    as_of: str
    unknown: list[str] = field(default_factory=list)

    @property
    def idle_monthly(self) -> float:
        """Dollars a month with the head asleep."""
        return sum(line.always for line in self.lines) * HOURS_A_MONTH

    @property
    def hourly(self) -> float:
        """Dollars an hour with the head awake and each worker group at its minimum."""
        return sum(line.always + line.awake for line in self.lines)

    @property
    def monthly(self) -> float:
        """Dollars a month, awake all the time."""
        return self.hourly * HOURS_A_MONTH

    @property
    def hourly_at_most(self) -> float:
        """Dollars an hour with each worker group at its maximum."""
        return sum(line.always + line.awake + line.most for line in self.lines)
