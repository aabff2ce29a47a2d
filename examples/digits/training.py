"""Training: try several classifiers side by side, keep the best, and promote it if it is good enough."""

from __future__ import annotations

from typing import Annotated

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.base import ClassifierMixin
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.svm import SVC

from images import DIGITS
from rayform import (
    ArtifactConfig,
    ArtifactType,
    Client,
    Model,
    get_step_context,
    log_metadata,
    pipeline,
    step,
)

matplotlib.use("Agg")


@step
def propose_widths() -> Annotated[list[float], "widths"]:
    """Return the kernel widths to try; how many there are is known only after this step."""
    return [0.001, 0.01, 0.05, 0.2]


@step
def fit(width: float, train_x: np.ndarray, train_y: np.ndarray) -> ClassifierMixin:
    """Train one classifier; this step runs once for each width, side by side."""
    return SVC(gamma=width).fit(train_x, train_y)


@step
def choose_best(
    candidates: list[ClassifierMixin], test_x: np.ndarray, test_y: np.ndarray
) -> tuple[
    Annotated[ClassifierMixin, ArtifactConfig(name="classifier", artifact_type=ArtifactType.MODEL)],
    Annotated[float, "accuracy"],
]:
    """Keep the classifier that reads the most test images correctly."""
    accuracies = [float(accuracy_score(test_y, candidate.predict(test_x))) for candidate in candidates]
    best = int(np.argmax(accuracies))
    print(f"Accuracies: {', '.join(f'{a:.4f}' for a in accuracies)}")
    get_step_context().add_output_metadata({"accuracy": accuracies[best]}, output_name="classifier")
    return candidates[best], accuracies[best]


@step
def draw_confusion(
    classifier: ClassifierMixin, test_x: np.ndarray, test_y: np.ndarray
) -> Annotated[Figure, "confusion"]:
    """Draw which digits the classifier confuses."""
    figure = Figure(figsize=(5, 5))
    ConfusionMatrixDisplay.from_predictions(
        test_y, classifier.predict(test_x), ax=figure.add_subplot(), colorbar=False
    )
    return figure


@step(enable_cache=False)
def promote(accuracy: float, at_least: float = 0.95) -> Annotated[bool, "promoted"]:
    """Put this run's version of the model into production, if it is good enough."""
    log_metadata({"accuracy": accuracy}, infer_model=True)
    if accuracy < at_least:
        print(f"Not promoted: {accuracy:.4f} is less than {at_least}.")
        return False
    get_step_context().model.set_stage("production", force=True)
    return True


@pipeline(model=Model(name="digits", description="Tells handwritten digits apart."), image=DIGITS)
def training(at_least: float = 0.95) -> None:
    """Train on the newest data sets that feature engineering made."""
    client = Client()
    train_x, train_y = client.get_artifact_version("train_x"), client.get_artifact_version("train_y")
    test_x, test_y = client.get_artifact_version("test_x"), client.get_artifact_version("test_y")

    candidates = fit.map(propose_widths(), train_x=train_x, train_y=train_y)
    classifier, accuracy = choose_best(candidates, test_x, test_y)
    draw_confusion(classifier, test_x, test_y)
    promote(accuracy, at_least)
