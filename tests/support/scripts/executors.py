"""Uses `concurrent.futures` with processes of each start method, and with threads."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from both_ways import finish

from rayform import pipeline, step

FACTOR = 3


def times(number: int) -> int:
    return FACTOR * number


@step
def in_processes(method: str) -> list:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        return list(executor.map(times, range(4)))


@step
def in_threads() -> list:
    with ThreadPoolExecutor(2) as executor:
        return list(executor.map(times, range(4)))


@pipeline
def mapping() -> object:
    return in_processes("fork"), in_processes("spawn"), in_processes("forkserver"), in_threads()


if __name__ == "__main__":
    finish(mapping)
