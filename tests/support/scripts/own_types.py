"""Passes values of its own types from step to step, and returns them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, Flag, IntEnum, StrEnum
from typing import NamedTuple

from both_ways import finish
from pydantic import BaseModel

from rayform import pipeline, step


class Split(StrEnum):
    TRAIN = "train"


class Level(IntEnum):
    LOW = 1


class Access(Flag):
    READ = 1
    WRITE = 2


class Kind(Enum):
    A = (1, 2)


class Pair(NamedTuple):
    left: int
    right: Split = Split.TRAIN


@dataclass(frozen=True)
class Result:
    score: float
    pairs: tuple[Pair, ...] = ()
    levels: dict[Level, Kind] = field(default_factory=dict)


class Model(BaseModel):
    result: Result
    access: Access = Access.READ


@step
def result() -> Result:
    return Result(0.5, (Pair(1),), {Level.LOW: Kind.A})


@step
def members() -> list:
    return [Split.TRAIN, Level.LOW, Access.READ | Access.WRITE, Kind.A, Pair(2)]


@step
def model(result: Result, members: list) -> Model:
    assert isinstance(result, Result)
    assert members[0] is Split.TRAIN
    assert type(members[4]) is Pair
    return Model(result=result, access=members[2])


@pipeline
def passing() -> object:
    first, second = result(), members()
    return first, second, model(first, second)


if __name__ == "__main__":
    finish(passing)
