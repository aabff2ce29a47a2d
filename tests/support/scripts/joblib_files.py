"""Dumps an estimator of its own by joblib into a file, and returns the file."""

from pathlib import Path

import joblib
import numpy as np
from both_ways import finish
from sklearn.base import BaseEstimator

from rayform import pipeline, step


class Mean(BaseEstimator):
    """Predicts the mean."""

    def fit(self, values: np.ndarray) -> "Mean":
        self.mean_ = float(values.mean())
        return self


@step
def trained() -> Path:
    path = Path("mean.joblib")
    joblib.dump(Mean().fit(np.arange(5.0)), path)
    return path


@step
def mean_of(path: Path) -> list:
    model = joblib.load(path)
    return [type(model) is Mean, model.mean_, b"__main__" in path.read_bytes()]


@pipeline
def training() -> object:
    return mean_of(trained())


if __name__ == "__main__":
    finish(training)
