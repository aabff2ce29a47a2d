"""Calls a pipeline inside a function, which closes over steps of the script, next to values that no pickle takes."""

import contextvars
import threading
from dataclasses import dataclass

from both_ways import finish

from rayform import pipeline, step

CURRENT = contextvars.ContextVar("current", default=1)
LOCK = threading.Lock()


@dataclass
class Result:
    number: int


def double(number: int) -> int:
    with LOCK:
        return number * 2 * CURRENT.get()


@step
def first(number: int) -> Result:
    return Result(double(number))


@step
def second(result: Result) -> object:
    return [result.number, type(result) is Result, isinstance(Result(1), Result)]


def main() -> None:
    steps = [first, second]

    @pipeline
    def chain() -> object:
        return steps[1](steps[0](3))

    finish(chain)


if __name__ == "__main__":
    main()
