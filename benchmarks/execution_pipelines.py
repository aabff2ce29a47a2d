"""The pipelines of small steps that `bench_execution` times, written as a user would write them.

They import only Rayform, because the time to import a library is not part of a step.
"""

from __future__ import annotations

import time

from rayform import Resources, pipeline, step


@step
def first() -> int:
    return 0


@step
def increment(number: int) -> int:
    return number + 1


@step(resources=Resources(cpus=0.1))
def sleep_half(number: int) -> int:
    time.sleep(0.5)
    return number


@step
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


@step
def count_to(count: int) -> list[int]:
    return list(range(count))


def _chain(length: int) -> None:
    number = first()
    for _ in range(length - 1):
        number = increment(number)


@pipeline(enable_cache=False)
def chain(length: int = 50) -> None:
    _chain(length)


@pipeline
def cached_chain(length: int = 50) -> None:
    _chain(length)


@pipeline(enable_cache=False)
def fan_out(width: int = 20) -> None:
    add_up([sleep_half(i) for i in range(width)])


@pipeline(enable_cache=False)
def wide_map(width: int = 1000) -> None:
    add_up(increment.map(count_to(width)))
