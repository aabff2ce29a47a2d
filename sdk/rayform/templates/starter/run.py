"""Train and predict: `python run.py`, or `rayform run pipelines.py:training -p trees=200`."""

from __future__ import annotations

from pipelines import inference, training


def main() -> None:
    """Run both pipelines on the active stack and show what came out."""
    trained = training.with_options(config_path="training.yaml")()
    print(f"Accuracy: {trained.steps['evaluate'].outputs['accuracy'].load():.3f}")

    predicted = inference()
    print(predicted.steps["predict"].outputs["predictions"].load().head())


if __name__ == "__main__":
    main()
