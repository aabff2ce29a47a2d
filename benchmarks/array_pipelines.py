"""The pipelines with a large array that `bench_execution` times, and the same pipelines without the array."""

from __future__ import annotations

import numpy as np

from rayform import pipeline, step


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


@pipeline(enable_cache=False)
def array_handover(megabytes: int = 100) -> None:
    use_array(make_array(megabytes))


@pipeline(enable_cache=False)
def dropped_array_handover(megabytes: int = 100) -> None:
    use_number(make_and_drop_array(megabytes))


@pipeline(enable_cache=False)
def number_handover(megabytes: int = 100) -> None:
    use_number(make_number(megabytes))
