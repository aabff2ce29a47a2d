"""Feature engineering: load the images of handwritten digits, draw some, split and scale them."""

from __future__ import annotations

from typing import Annotated

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from images import DIGITS
from rayform import ArtifactConfig, get_step_context, pipeline, step

matplotlib.use("Agg")  # draw into files: a worker has no screen


@step
def load_images() -> tuple[Annotated[np.ndarray, "images"], Annotated[np.ndarray, "labels"]]:
    """Load 1,797 images of 8 by 8 pixels, which come with scikit-learn, and the digit that each shows."""
    digits = load_digits()
    return digits.images, digits.target


@step
def draw_samples(images: np.ndarray, labels: np.ndarray, count: int = 32) -> Annotated[Figure, "samples"]:
    """Draw the first images with their labels; a figure is an artifact like any other."""
    figure = Figure(figsize=(8, 1 + count / 8))
    for index in range(count):
        axes = figure.add_subplot(-(-count // 8), 8, index + 1)
        axes.imshow(images[index], cmap="gray_r")
        axes.set_title(int(labels[index]), fontsize=8)
        axes.set_axis_off()
    return figure


@step
def split(
    images: np.ndarray, labels: np.ndarray, test_share: float = 0.25, seed: int = 0
) -> tuple[
    Annotated[np.ndarray, ArtifactConfig(name="train_x", tags=["digits"])],
    Annotated[np.ndarray, ArtifactConfig(name="test_x", tags=["digits"])],
    Annotated[np.ndarray, ArtifactConfig(name="train_y", tags=["digits"])],
    Annotated[np.ndarray, ArtifactConfig(name="test_y", tags=["digits"])],
]:
    """Flatten each image to 64 numbers from 0 to 1, and keep some images for testing."""
    pixels = images.reshape(len(images), -1) / 16.0
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=test_share, random_state=seed, stratify=labels
    )
    context = get_step_context()
    context.add_output_metadata({"images": len(train_x)}, output_name="train_x")
    context.add_output_metadata({"images": len(test_x)}, output_name="test_x")
    return train_x, test_x, train_y, test_y


@pipeline(image=DIGITS)
def feature_engineering(test_share: float = 0.25, seed: int = 0) -> None:
    """Make the data sets that training starts from."""
    images, labels = load_images()
    draw_samples(images, labels)
    split(images, labels, test_share=test_share, seed=seed)
