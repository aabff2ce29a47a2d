"""Seeds its generators at the top level; the first step draws from them."""

import random

import numpy as np
from both_ways import finish

from rayform import pipeline, step

random.seed(7)
np.random.seed(7)
GENERATOR = np.random.default_rng(7)


@step
def drawn() -> list:
    return [random.random(), float(np.random.rand()), float(GENERATOR.random()), random.choice("abc")]


@pipeline
def drawing() -> object:
    return drawn()


if __name__ == "__main__":
    finish(drawing)
