"""Outside a pipeline a step is a plain function, so its tests don't need Rayform."""

from __future__ import annotations

from steps import load_data, split_data, train_model


def test_a_few_trees_beat_guessing() -> None:
    """Even a small forest tells the three growers apart better than chance."""
    train, test = split_data(load_data(), test_share=0.5)
    classifier = train_model(train, trees=10)
    predicted = classifier.predict(test.drop(columns="target"))
    assert (predicted == test["target"]).mean() > 0.7
