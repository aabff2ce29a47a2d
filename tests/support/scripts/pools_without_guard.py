"""Uses `multiprocessing.Pool`, and calls its pipeline at the top level of what its children import."""

import multiprocessing
import os

from both_ways import finish

from rayform import pipeline, step


def square(number: int) -> int:
    return number * number


@step
def squares(method: str) -> list:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, [1, 2, 3])


@pipeline
def mapping() -> object:
    return squares("fork"), squares("spawn"), squares("forkserver")


# Plain Python can't start children of a script without a guard.
if os.environ["HOW"] == "run" or __name__ == "__main__":
    finish(mapping)
