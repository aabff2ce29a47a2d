"""Pickles and copies objects of its own classes and functions."""

import copy
import pickle
from dataclasses import dataclass
from enum import Enum
from functools import partial

import cloudpickle
from both_ways import finish

from rayform import pipeline, step


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    colour: Colour = Colour.RED

    class Inner:
        """A class within a class."""


def shifted(point: Point, by: int) -> Point:
    return Point(point.x + by, point.colour)


@step
def pickled() -> list:
    values = [Point(1), Colour.RED, shifted, partial(shifted, by=2), Point.Inner]
    return [pickle.dumps(value, protocol=4) for value in values]


@step
def read(data: list) -> list:
    point, colour, function, part, inner = (pickle.loads(one) for one in data)
    return [point == Point(1), colour is Colour.RED, function is shifted, part(point).x, inner is Point.Inner]


@step
def copies() -> list:
    point = Point(1)
    made = [copy.deepcopy(point), copy.copy(point), pickle.loads(cloudpickle.dumps(point))]
    return [one == point and type(one) is Point for one in made] + [
        repr(Point),
        Point.__module__,
        shifted.__module__,
    ]


@pipeline
def pickling() -> object:
    data = pickled()
    return data, read(data), copies()


if __name__ == "__main__":
    finish(pickling)
