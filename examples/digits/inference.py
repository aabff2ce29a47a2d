"""Inference: read unseen digits with the model version that is in production."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from sklearn.datasets import load_digits

from images import DIGITS
from rayform import Model, get_step_context, log_metadata, pipeline, step


@step
def load_unseen(
    count: int = 20, seed: int = 1
) -> tuple[Annotated[np.ndarray, "batch"], Annotated[list[int], "truth"]]:
    """Take some images and smudge them, as a bad scan would."""
    digits = load_digits()
    random = np.random.default_rng(seed)
    chosen = random.choice(len(digits.images), count, replace=False)
    smudged = np.clip(digits.images[chosen] + random.normal(0, 1.5, (count, 8, 8)), 0, 16)
    return smudged.reshape(count, -1) / 16.0, [int(digit) for digit in digits.target[chosen]]


@step
def predict(batch: np.ndarray) -> Annotated[list[int], "predictions"]:
    """Read the digits with the classifier of the model version that this pipeline names."""
    classifier = get_step_context().model.load_artifact("classifier")
    return [int(digit) for digit in classifier.predict(batch)]


@step
def report(predictions: list[int], truth: list[int]) -> Annotated[str, "report"]:
    """Report how many digits were read correctly."""
    right = sum(predicted == actual for predicted, actual in zip(predictions, truth, strict=True))
    log_metadata({"right": right, "read": len(truth)})
    return f"{right} of {len(truth)} digits read rightly"


@pipeline(model=Model(name="digits", version="production"), image=DIGITS, enable_cache=False)
def inference(count: int = 20) -> None:
    """Read a batch of digits with the production model."""
    batch, truth = load_unseen(count)
    report(predict(batch), truth)
