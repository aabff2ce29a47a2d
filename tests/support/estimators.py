"""One fitted estimator of each class that scikit-learn lists, and what it computes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["SAMPLES", "computed", "fitted_estimators"]

SAMPLES = np.abs(np.random.default_rng(0).normal(size=(40, 4))).round(2)
_CLASSES = (SAMPLES[:, 0] > np.median(SAMPLES[:, 0])).astype(int)
_NUMBERS = SAMPLES @ np.array([1.0, -2.0, 0.5, 0.0]) + 5
_TEXTS = [f"word{number % 7} word{number % 3} other" for number in range(40)]


def _arguments(name: str) -> dict[str, Any]:
    """Return the arguments that a class needs, or that keep it quick."""
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.preprocessing import StandardScaler

    classifier, regressor = LogisticRegression(), LinearRegression()
    named: dict[str, dict[str, Any]] = {
        "ClassifierChain": {"estimator": classifier},
        "ColumnTransformer": {"transformers": [("scale", StandardScaler(), [0, 1]), ("drop", "drop", [2])]},
        "FeatureUnion": {"transformer_list": [("scale", StandardScaler()), ("as it is", "passthrough")]},
        "FixedThresholdClassifier": {"estimator": classifier},
        "FrozenEstimator": {"estimator": LogisticRegression().fit(SAMPLES, _CLASSES)},
        "GridSearchCV": {"estimator": classifier, "param_grid": {"C": [0.1, 1.0]}, "cv": 2},
        "MultiOutputClassifier": {"estimator": classifier},
        "MultiOutputRegressor": {"estimator": regressor},
        "OneVsOneClassifier": {"estimator": classifier},
        "OneVsRestClassifier": {"estimator": classifier},
        "OutputCodeClassifier": {"estimator": classifier},
        "Pipeline": {"steps": [("scale", StandardScaler()), ("classify", classifier)]},
        "RFE": {"estimator": classifier},
        "RFECV": {"estimator": classifier, "cv": 2},
        "RandomizedSearchCV": {
            "estimator": classifier,
            "param_distributions": {"C": [0.1, 1.0]},
            "n_iter": 2,
            "cv": 2,
        },
        "RegressorChain": {"estimator": regressor},
        "SelectFromModel": {"estimator": classifier},
        "SelfTrainingClassifier": {"estimator": classifier},
        "SequentialFeatureSelector": {"estimator": classifier, "cv": 2},
        "SparseCoder": {"dictionary": np.eye(4)},
        "StackingClassifier": {"estimators": [("a", classifier), ("b", LogisticRegression(C=0.1))], "cv": 2},
        "StackingRegressor": {"estimators": [("a", regressor), ("b", LinearRegression())], "cv": 2},
        "TunedThresholdClassifierCV": {"estimator": classifier, "cv": 2},
        "VotingClassifier": {"estimators": [("a", classifier), ("b", LogisticRegression(C=0.1))]},
        "VotingRegressor": {"estimators": [("a", regressor), ("b", LinearRegression())]},
        "GaussianRandomProjection": {"n_components": 2},
        "SparseRandomProjection": {"n_components": 2},
        "TSNE": {"perplexity": 5, "max_iter": 250},
        "SpectralBiclustering": {"n_clusters": 2},
        "SpectralCoclustering": {"n_clusters": 2},
        "FeatureHasher": {"n_features": 8, "input_type": "string"},
        "HashingVectorizer": {"n_features": 8},
        "PatchExtractor": {"patch_size": (2, 2)},
    }  # fmt: skip
    return named.get(name, {})


def _data(name: str, tags: Any) -> tuple[Any, ...]:
    if name in ("CountVectorizer", "HashingVectorizer", "TfidfVectorizer"):
        return (_TEXTS,)
    if name == "FeatureHasher":
        return ([text.split() for text in _TEXTS],)
    if name == "DictVectorizer":
        return ([{"a": float(row[0]), "b": float(row[1])} for row in SAMPLES],)
    if name in ("LabelBinarizer", "LabelEncoder"):
        return (_CLASSES,)
    if name == "MultiLabelBinarizer":
        return ([{"a", "b"} if label else {"a"} for label in _CLASSES],)
    if name == "PatchExtractor":
        return (np.arange(64.0).reshape(4, 4, 4),)
    if name == "IsotonicRegression":
        return SAMPLES[:, 0], _NUMBERS
    if name == "KernelCenterer":
        return (SAMPLES @ SAMPLES.T,)
    if name in ("CategoricalNB", "OneHotEncoder", "OrdinalEncoder"):
        return SAMPLES.round().astype(int), _CLASSES
    if name.startswith("MultiTask"):
        return SAMPLES, np.column_stack([_NUMBERS, _NUMBERS * 2])
    if name == "MultiOutputRegressor" or name == "RegressorChain":
        return SAMPLES, np.column_stack([_NUMBERS, _NUMBERS * 2])
    if name in ("MultiOutputClassifier", "ClassifierChain"):
        return SAMPLES, np.column_stack([_CLASSES, 1 - _CLASSES])
    if tags.estimator_type == "regressor" or name in ("CCA", "PLSCanonical", "PLSRegression", "PLSSVD"):
        return SAMPLES, _NUMBERS
    return SAMPLES, _CLASSES


def fitted_estimators() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Yield name, fitted estimator and training data of each class in `all_estimators`."""
    from sklearn.utils import get_tags
    from sklearn.utils.discovery import all_estimators

    quick = {"n_estimators": 5, "max_iter": 300, "random_state": 0, "cv": 2}
    refuses = {"OrthogonalMatchingPursuitCV": "max_iter"}
    one_component = {"CCA", "PLSCanonical", "PLSRegression", "PLSSVD"}
    for name, kind in all_estimators():
        accepted = inspect.signature(kind).parameters
        arguments = {key: item for key, item in quick.items() if key in accepted and refuses.get(name) != key}
        if name in one_component:
            arguments["n_components"] = 1
        estimator = kind(**{**arguments, **_arguments(name)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _data(name, get_tags(estimator))
            yield name, estimator.fit(*data), data


def computed(estimator: Any, data: tuple[Any, ...]) -> dict[str, Any]:
    """Return what a fitted estimator predicts and transforms, by the method's name."""
    results: dict[str, Any] = {"parameters": repr(estimator.get_params())}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in ("predict", "predict_proba", "decision_function", "transform", "score_samples"):
            if hasattr(estimator, method):
                found = getattr(estimator, method)(data[0])
                parts = found if isinstance(found, list | tuple) else [found]
                results[method] = [part.toarray() if hasattr(part, "toarray") else part for part in parts]
    return results
