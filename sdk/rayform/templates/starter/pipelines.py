"""Pipelines: which step gets what from which."""

from __future__ import annotations

from steps import evaluate, load_data, predict, promote, split_data, train_model

from rayform import Model, pipeline


@pipeline(model=Model(name="wine-classifier"))
def training(test_share: float = 0.25, trees: int = 100, at_least: float = 0.9) -> None:
    """Train, measure, and promote the model if it is good enough."""
    train, test = split_data(load_data(), test_share)
    accuracy = evaluate(train_model(train, trees), test)
    promote(accuracy, at_least)


@pipeline(model=Model(name="wine-classifier", version="production"), enable_cache=False)
def inference() -> None:
    """Predict with the version of the model that is in production."""
    predict(load_data())
