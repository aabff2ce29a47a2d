"""Saves values of its own types; `reads_types.py`, which imports this file, loads them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from both_ways import finish
from sklearn.base import BaseEstimator, ClassifierMixin

from rayform import ArtifactConfig, pipeline, step
from rayform.materializers import CloudpickleMaterializer, SklearnMaterializer


class Split(StrEnum):
    TRAIN = "train"


@dataclass
class Result:
    score: float
    split: Split = Split.TRAIN


class Majority(ClassifierMixin, BaseEstimator):
    """Predicts the most frequent class."""

    def fit(self, x: Any, y: Any) -> "Majority":
        self.classes_, counts = np.unique(y, return_counts=True)
        self.majority_ = int(self.classes_[counts.argmax()])
        return self

    def __repr__(self) -> str:
        return f"Majority of {self.majority_}"


class TrustingMaterializer(SklearnMaterializer):
    """Trusts this script's estimator, as the error for it says."""

    TRUSTED = ("stores_types.Majority",)


@step
def result() -> Result:
    return Result(0.5)


@step
def model() -> Annotated[Majority, ArtifactConfig(materializer=TrustingMaterializer)]:
    return Majority().fit(None, [1, 2, 2])


@step
def function() -> Annotated[Any, ArtifactConfig(materializer=CloudpickleMaterializer)]:
    return lambda value: value + 1


@step
def used(result: Result, model: Any, function: Any) -> list:
    return [type(result) is Result, result.split is Split.TRAIN, type(model) is Majority, function(1)]


@pipeline
def storing() -> object:
    first, second, third = result(), model(), function()
    return first, second, used(first, second, third)


if __name__ == "__main__":
    finish(storing)
