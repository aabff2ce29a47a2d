"""Returns functions and objects that only a pickle by value can hold."""

from typing import Annotated, Any

from both_ways import finish

from rayform import ArtifactConfig, pipeline, step
from rayform.materializers import CloudpickleMaterializer

Pickled = Annotated[Any, ArtifactConfig(materializer=CloudpickleMaterializer)]


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor


@step
def function() -> Pickled:
    return lambda value: value + 1


@step
def closure() -> Pickled:
    scaler = Scaler(3)

    def scaled(value: int) -> int:
        return value * scaler.factor

    return scaled


@step
def scaler() -> Pickled:
    return Scaler(4)


@step
def local() -> Pickled:
    class Local:
        number = 5

    return Local()


@step
def used(function: Any, closure: Any, scaler: Any, local: Any) -> list:
    return [function(1), closure(2), scaler.factor, isinstance(scaler, Scaler), local.number]


@pipeline
def passing() -> object:
    return used(function(), closure(), scaler(), local())


if __name__ == "__main__":
    finish(passing)
