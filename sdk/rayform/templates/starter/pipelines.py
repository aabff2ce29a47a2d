"""Pipelines: they connect the outputs of steps to the inputs of others."""

from __future__ import annotations

from steps import evaluate, load_data, predict, promote, split_data, train_model

from rayform import Model, pipeline


@pipeline(model=Model(name="wine-classifier"))
def training(test_share: float = 0.25, trees: int = 100, at_least: float = 0.9) -> None:
    """Train a classifier, measure it, and promote it if it is good enough."""
    train, test = split_data(load_data(), test_share)
    accuracy = evaluate(train_model(train, trees), test)
    promote(accuracy, at_least)


@pipeline(model=Model(name="wine-classifier", version="production"), enable_cache=False)
def inference() -> None:
    """Predict with the model version that is in production."""
    predict(load_data())
