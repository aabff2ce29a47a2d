"""The pipelines that `bench_execution` times, written as a person would."""

from __future__ import annotations

import time

import numpy as np

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


@step
def make_array(megabytes: int) -> np.ndarray:
    return np.arange(megabytes * 125_000, dtype=np.float64)


@step
def use_array(array: np.ndarray) -> float:
    return float(array[-1])


@step
def make_number(megabytes: int) -> float:
    return float(megabytes)


@step
def make_and_drop_array(megabytes: int) -> float:
    return float(np.arange(megabytes * 125_000, dtype=np.float64)[-1])


@step
def use_number(number: float) -> float:
    return number


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


@pipeline(enable_cache=False)
def array_handover(megabytes: int = 100) -> None:
    use_array(make_array(megabytes))


@pipeline(enable_cache=False)
def dropped_array_handover(megabytes: int = 100) -> None:
    use_number(make_and_drop_array(megabytes))


@pipeline(enable_cache=False)
def number_handover(megabytes: int = 100) -> None:
    use_number(make_number(megabytes))
