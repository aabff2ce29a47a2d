"""Steps: plain functions, which you can call and test as such."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from rayform import ArtifactConfig, ArtifactType, get_step_context, log_metadata, step


@step
def load_data() -> Annotated[pd.DataFrame, "wines"]:
    """Load chemical analyses of 178 wines from three growers. Replace them by your own data."""
    return load_wine(as_frame=True).frame


@step
def split_data(
    wines: pd.DataFrame, test_share: float, seed: int = 0
) -> tuple[Annotated[pd.DataFrame, "train"], Annotated[pd.DataFrame, "test"]]:
    """Set a share of the rows aside for testing."""
    train, test = train_test_split(wines, test_size=test_share, random_state=seed, stratify=wines["target"])
    return train, test


@step
def train_model(
    train: pd.DataFrame, trees: int
) -> Annotated[ClassifierMixin, ArtifactConfig(name="classifier", artifact_type=ArtifactType.MODEL)]:
    """Train a classifier."""
    forest = RandomForestClassifier(n_estimators=trees, random_state=0)
    return forest.fit(train.drop(columns="target"), train["target"])


@step
def evaluate(classifier: ClassifierMixin, test: pd.DataFrame) -> Annotated[float, "accuracy"]:
    """Measure the share of test rows that the classifier gets right."""
    accuracy = float(accuracy_score(test["target"], classifier.predict(test.drop(columns="target"))))
    log_metadata({"accuracy": accuracy}, infer_model=True)
    return accuracy


@step(enable_cache=False)
def promote(accuracy: float, at_least: float) -> Annotated[bool, "promoted"]:
    """Put this version of the model into production if it is good enough."""
    if accuracy < at_least:
        print(f"Not promoted: the accuracy {accuracy:.3f} is less than {at_least}.")
        return False
    get_step_context().model.set_stage("production", force=True)
    return True


@step
def predict(wines: pd.DataFrame) -> Annotated[pd.DataFrame, "predictions"]:
    """Predict with the model version that the pipeline names."""
    classifier = get_step_context().model.load_artifact("classifier")
    features = wines.drop(columns="target", errors="ignore")
    return pd.DataFrame({"grower": classifier.predict(features)})
