"""Trains and predicts. Run it with `python run.py`, or run one pipeline with `rayform run pipelines.py:training`."""

from __future__ import annotations

from pipelines import inference, training


def main() -> None:
    """Run both pipelines on the active stack and print their results."""
    trained = training.with_options(config_path="training.yaml")()
    print(f"Accuracy: {trained.steps['evaluate'].outputs['accuracy'].load():.3f}")

    predicted = inference()
    print(predicted.steps["predict"].outputs["predictions"].load().head())


if __name__ == "__main__":
    main()
