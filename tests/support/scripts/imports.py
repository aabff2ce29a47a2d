"""Imports modules next to it, lazily and by name, also from a child process."""

import importlib
import multiprocessing

import neighbour
from both_ways import finish

from rayform import pipeline, step


def tripled(number: int) -> int:
    return neighbour.tripled(number)


@step
def lazily() -> list:
    import neighbour as again
    from package.parts import doubled

    module = importlib.import_module("neighbour")
    return [
        module is neighbour,
        again is neighbour,
        doubled(2),
        module.Shape.__module__,
        repr(module.Shape(1)),
    ]


@step
def in_children() -> list:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return [*pool.map(tripled, [1, 2]), *pool.map(neighbour.tripled, [3])]


@step
def shape() -> neighbour.Shape:
    return neighbour.Shape(4)


@pipeline
def importing() -> object:
    return lazily(), in_children(), shape()


if __name__ == "__main__":
    finish(importing)
