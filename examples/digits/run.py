"""Make features, train, and read digits with the trained model.

python examples/digits/run.py                     all three, one after another
rayform run examples/digits/run.py:training       one of them
"""

from __future__ import annotations

from features import feature_engineering
from inference import inference
from training import training


def main() -> None:
    """Run the three pipelines on the active stack and print the results."""
    feature_engineering()
    trained = training()
    read = inference()

    classifier = trained.steps["choose_best"].outputs["classifier"]
    print(f"Model:    {classifier.load()!r}")
    print(f"Accuracy: {classifier.run_metadata['accuracy']:.4f}")
    print(f"Report:   {read.steps['report'].outputs['report'].load()}")


if __name__ == "__main__":
    main()
