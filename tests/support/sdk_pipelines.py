"""Pipelines that the SDK's tests run for real, on the default stack."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

from rayform import (
    ArtifactConfig,
    RetryPolicy,
    get_step_context,
    pipeline,
    step,
    unmapped,
)


class Options(BaseModel):
    """A user-defined type of a parameter."""

    depth: int = 1
    names: tuple[str, ...] = ()


@dataclass
class Point:
    """A user-defined type of a value."""

    x: int
    y: float


def note(path: str, text: str) -> None:
    """Append a line to the file of events."""
    with Path(path).open("a") as file:
        file.write(text + "\n")


def note_success() -> None:
    note(os.environ["NOTES"], "success hook")


def note_failure(error: BaseException) -> None:
    note(os.environ["NOTES"], f"failure hook: {error}")


@step
def numbers(count: int) -> Annotated[list[int], ArtifactConfig(name="numbers", tags=["raw"])]:
    return list(range(count))


@step
def square(number: int, plus: int = 0) -> int:
    return number**2 + plus


@step
def divide(number: int, by: list[int]) -> tuple[Annotated[int, "whole"], Annotated[int, "rest"]]:
    return divmod(number, len(by))


@step
def add(values: list[int]) -> int:
    return sum(values)


@step
def pair(left: list[int], right: list[int]) -> Point:
    return Point(sum(left), float(sum(right)))


@step
def describe(options: Options, point: Point) -> str:
    assert isinstance(options, Options) and isinstance(point, Point)
    return f"{options.depth} {options.names} {point.x} {point.y}"


@step(enable_cache=False)
def remember(path: str, text: str) -> None:
    note(path, text)


@step(retry=RetryPolicy(max_retries=2), on_success=note_success, enable_cache=False)
def unsteady(path: str) -> int:
    note(path, "try")
    if get_step_context().attempt < 3:
        raise RuntimeError("not yet")
    return get_step_context().attempt


@step(on_failure=note_failure)
def broken() -> int:
    raise ValueError("as meant")


@step
def double(value: Any) -> Any:
    return value * 2


@pipeline
def sum_of_squares(count: int = 4) -> int:
    return add(square.map(numbers(count), plus=1))


@pipeline
def many_ways(count: int = 7) -> None:
    values = numbers(count)
    whole, rest = divide.map(values, by=unmapped(values))
    pair(whole, rest)
    add([square(2), square(3)])
    add.with_options(id="again")(square.map(square.map(values)))


@pipeline
def with_values(options: Options, point: Point) -> None:
    describe(options, point)


@pipeline
def in_order(path: str) -> None:
    first = remember(path, "first")
    second = remember.after(first)(path, "second")
    remember(path, "third", after=second)  # type: ignore[call-arg]


@pipeline
def nested(count: int = 3) -> None:
    double(sum_of_squares.inline(count))


@pipeline
def retried(path: str) -> None:
    unsteady(path)


@pipeline(on_failure=note_failure)
def failing() -> None:
    add([broken()])
    square(5)


@pipeline
def from_store(stored: Any) -> None:
    add(stored)
