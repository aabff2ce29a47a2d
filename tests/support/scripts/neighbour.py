"""A module next to the scripts."""

from dataclasses import dataclass


@dataclass
class Shape:
    """A value of a type that isn't the script's."""

    sides: int


def tripled(number: int) -> int:
    return 3 * number
