"""Lets joblib run a function of the script in two processes."""

import joblib
from both_ways import finish

from rayform import pipeline, step


class Score:
    def __init__(self, value: int) -> None:
        self.value = value


def score(value: int) -> Score:
    return Score(value * 10)


@step
def scores() -> list:
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(score)(value) for value in range(4))
    return [(one.value, type(one) is Score) for one in found]


@pipeline
def scoring() -> object:
    return scores()


if __name__ == "__main__":
    finish(scoring)
