"""Is started by `python -m package`."""

import sys

from both_ways import finish

from rayform import pipeline, step

from .parts import doubled


@step
def facts() -> list:
    main = sys.modules["__main__"]
    return [main.__spec__.name, main.__package__, doubled(3), __name__]


@pipeline
def training() -> object:
    return facts()


if __name__ == "__main__":
    finish(training)
