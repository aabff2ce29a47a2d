"""Uses `multiprocessing.Pool` with each start method."""

import multiprocessing
from dataclasses import dataclass

from both_ways import finish

from rayform import pipeline, step


@dataclass
class Square:
    number: int
    module: str = __name__


def square(number: int) -> Square:
    return Square(number * number)


@step
def squares(method: str) -> list:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return [(one.number, type(one).__name__) for one in pool.map(square, [1, 2, 3])]


@pipeline
def mapping() -> object:
    return squares("fork"), squares("spawn"), squares("forkserver")


if __name__ == "__main__":
    finish(mapping)
