"""Is started by `python -m package.train`, and imports its neighbours by relative imports."""

import multiprocessing
import pickle
import sys
from dataclasses import dataclass

from both_ways import finish

from rayform import pipeline, step

from .parts import doubled


@dataclass
class Result:
    number: int


def result_of(number: int) -> Result:
    return Result(doubled(number))


@step
def facts() -> list:
    main = sys.modules["__main__"]
    return [
        main.__spec__.name,
        main.__package__,
        main.__name__,
        Result.__module__,
        pickle.dumps(Result(1), 4),
        sys.argv,
    ]


@step
def results(method: str) -> list:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return [one.number for one in pool.map(result_of, [1, 2])]


@step
def result() -> Result:
    from .parts import doubled as lazily

    return Result(lazily(4))


@pipeline
def training() -> object:
    return facts(), results("fork"), results("spawn"), results("forkserver"), result()


if __name__ == "__main__":
    finish(training)
