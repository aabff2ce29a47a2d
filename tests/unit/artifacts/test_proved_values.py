"""Nothing is committed that would not come back: values of everyday libraries, and the proof before the commit."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Optional, TypeVar

import numpy as np
import pydantic
import pytest
import scipy.optimize
import scipy.sparse
import scipy.stats
from support.estimators import computed, fitted_estimators
from support.other_process import loaded_elsewhere
from support.sameness import assert_same

from rayform_core.errors import RayformError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.materializers import json_codec
from rayform_runtime.artifacts.materializers.base import Materializer, NotProvedError
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import save_value

Through = Callable[..., tuple[Any, Any]]
T = TypeVar("T")
K = TypeVar("K")


class Ints(pydantic.RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Circle:
    radius: float

    @cached_property
    def area(self) -> float:
        return 3 * self.radius**2

    @cached_property
    def scaled(self) -> Callable[[float], float]:
        return lambda by: self.radius * by


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Model(pydantic.BaseModel, Generic[T]):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    content: T
    _seen: int = pydantic.PrivateAttr(default=3)


class Pair(pydantic.BaseModel, Generic[T, K]):
    left: T
    right: K


class Holder(pydantic.BaseModel):
    model: Model[str]


class Half(NamedTuple):
    whole: int
    half: float


class Halved(Half):
    """Takes other arguments than it has fields, and has an attribute."""

    def __new__(cls, whole: int) -> Halved:
        value = super().__new__(cls, whole, whole / 2)
        value.note = "made"
        return value


def _used_circle() -> Circle:
    circle = Circle(2.0)
    assert circle.area == 12
    return circle


X = np.random.default_rng(0).normal(size=20)
Y = X * 2 + np.random.default_rng(1).normal(size=20)
VALUES: dict[str, Any] = {
    "root model": Ints([1, 2]),
    "cached property": _used_circle(),
    "generic": Box[int](3),
    "generic of a container": Box[dict[str, tuple[int, ...]]]({}),
    "generic of a literal": Box[Literal["a", 1]]("a"),
    "generic of a union": Box[list[int] | None](None),
    "generic of an optional": Box[Optional[int]](None),  # noqa: UP045 - the other form is tested too
    "generic of generics": Box[Box[int]](Box[int](1)),
    "generic model": Model[int](content=3),
    "generic model of generics": Model[list[Box[int]]](content=[Box[int](1)]),
    "generic model of two": Pair[int, Model[str]](left=1, right=Model[str](content="a")),
    "generic model in a field": Holder(model=Model[str](content="a")),
    "plain generic model": Model(content=3),
    "named tuple with a constructor": Halved(3),
    "large integers": {"a": 2**70, "b": 2**20_000},
    "lone surrogates": {"\ud800": ["\udfff"]},
    "dtypes": [np.dtype("f4"), np.dtype([("a", "i4"), ("b", "S3", (2,))])],
    "optimized": scipy.optimize.minimize(lambda x: (x**2).sum(), [1.0, 2.0], method="Nelder-Mead"),
    "t-test": scipy.stats.ttest_ind(X, Y),
    "t-test of one sample": scipy.stats.ttest_1samp(X, 0),
    "interval of a t-test": scipy.stats.ttest_1samp(X, 0).confidence_interval(),
    "correlation": scipy.stats.pearsonr(X, Y),
    "rank correlation": scipy.stats.spearmanr(X, Y),
    "regression": scipy.stats.linregress(X, Y),
    "mode": scipy.stats.mode([1, 1, 2]),
    "contingency": scipy.stats.chi2_contingency([[1, 2], [3, 4]]),
    "variance": scipy.stats.f_oneway(X, Y),
    "normality": scipy.stats.shapiro(X),
    "distribution": scipy.stats.kstest(X, "norm"),
    "description": scipy.stats.describe(X),
    "bootstrap": scipy.stats.bootstrap((X,), np.mean, n_resamples=20, rng=0),
    "wilcoxon": scipy.stats.wilcoxon(X),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_everyday_values_come_back(through: Through, value: Any) -> None:
    """With type, arguments of the type and attributes; inside of others too."""
    assert_same(through(value)[0], value)
    assert_same(through({"a": [value]})[0], {"a": [value]})


def test_values_come_back_in_another_process(tmp_path: Path, local_store: LocalArtifactStore) -> None:
    """Results of SciPy are made there without what made them here."""
    # The other process answers by pickle, which a t-test doesn't survive.
    names = [
        name
        for name, value in VALUES.items()
        if type(value).__module__.startswith("scipy") and not name.startswith("t-test")
    ]
    assert len(names) > 10
    saved = [save_value(local_store, new_id(), VALUES[name]) for name in names]
    for name, loaded in zip(names, loaded_elsewhere(tmp_path, local_store, saved), strict=True):
        assert_same(loaded, VALUES[name])


def test_a_dataset_of_sklearn_comes_back(through: Through) -> None:
    """A `Bunch`, with arrays in it."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    assert_same(through(iris)[0], iris)


def test_a_cached_property_that_cannot_be_stored_is_computed_again(through: Through) -> None:
    """Its value is a function here; the other one is kept."""
    circle = _used_circle()
    assert circle.scaled(2) == 4
    loaded, _ = through(circle)
    assert vars(loaded) == {"radius": 2.0, "area": 12.0}
    assert loaded.scaled(2) == 4


MATRIX = np.where(np.arange(24).reshape(4, 6) % 5, 0, np.arange(24).reshape(4, 6))


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "?", "c16"])
def test_sparse_matrices_come_back(through: Through, kind: str, form: str, dtype: str) -> None:
    """Each format, as matrix and as array, alone and in a list."""
    value = getattr(scipy.sparse, f"{form}_{kind}")(MATRIX.astype(dtype))
    for loaded in (through(value)[0], through([value])[0][0]):
        assert_same(loaded, value)


@pytest.mark.parametrize(
    "value",
    [
        scipy.sparse.coo_array(np.array([1, 0, 2])),
        scipy.sparse.csr_array(np.array([1.0, 0, 2])),
        scipy.sparse.coo_array(np.ones((2, 2, 2))),
        scipy.sparse.csr_matrix((0, 3)),
        scipy.sparse.coo_matrix(([1, 2], ([0, 0], [1, 1]))),
        scipy.sparse.csr_array((np.ones(2), np.arange(2, dtype="i8"), np.arange(3, dtype="i8"))),
        scipy.sparse.csr_array((np.ones(2), np.array([1, 0]), np.array([0, 2])), shape=(1, 2)),
    ],
    ids=["one dimension", "one dimension, csr", "three", "empty", "duplicates", "wide indices", "unsorted"],
)
def test_sparse_matrices_of_every_shape_come_back(
    through: Through, local_store: LocalArtifactStore, value: Any
) -> None:
    """With the types of their indices; SciPy itself reads the file."""
    loaded, saved = through(value)
    assert_same(loaded, value)
    with local_store.open_local(saved.uri) as folder:
        assert (scipy.sparse.load_npz(folder / "matrix.npz").toarray() == value.toarray()).all()


@pytest.mark.parametrize("mask", [np.ma.nomask, [False, False], [True, False]])
def test_masks_come_back(through: Through, mask: Any) -> None:
    """An array without a mask isn't one with an empty mask."""
    value = np.ma.MaskedArray([1.0, 2.0], mask=mask)
    assert_same(through(value)[0], value)


# -- the proof ------------------------------------------------------------------------------------------------------


class Sketch:
    """A value of a user's own."""


class UnreadableSketches(Materializer):
    """Writes what it can't read."""

    def save(self, value: Any, folder: Path) -> None:
        (folder / "sketch.txt").write_text("x")

    def load(self, folder: Path, data_type: type) -> Any:
        return int((folder / "sketch.txt").read_text())


class UnreadableFiles(UnreadableSketches):
    """Likewise, without a folder."""

    def save(self, value: Any, folder: Path) -> None:
        (folder / "sketch.txt").write_text("x")

    def load(self, folder: Path, data_type: type) -> Any:
        return self.from_files({"sketch.txt": (folder / "sketch.txt").read_bytes()}, data_type)

    def to_files(self, value: Any) -> dict[str, bytes]:
        return {"sketch.txt": b"x"}

    def from_files(self, files: Any, data_type: type) -> Any:
        return int(files["sketch.txt"])


@pytest.mark.parametrize("materializer", [UnreadableSketches, UnreadableFiles])
def test_what_a_materializer_cannot_load_is_not_committed(
    local_store: LocalArtifactStore, materializer: type[Materializer]
) -> None:
    """The error names the materializer and what its `load` raised."""
    with pytest.raises(NotProvedError, match=f"{materializer.__name__} can't load.*ValueError"):
        save_value(local_store, new_id(), Sketch(), materializer=materializer)
    assert not list(local_store.list_objects())


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_value_that_does_not_decode_is_not_committed(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """However large it is."""

    def broken(*arguments: object) -> object:
        raise ValueError("no such thing")

    monkeypatch.setitem(json_codec._DECODERS, "$tuple", broken)
    with pytest.raises(NotProvedError, match="no such thing"):
        save_value(local_store, new_id(), {"a": [(number,) for number in range(size)]})
    assert not list(local_store.list_objects())


def test_the_error_names_the_place_of_the_difference(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value deep inside that would come back as another one."""
    monkeypatch.setitem(json_codec._DECODERS, "$date", lambda text: math.pi)
    import datetime as dt

    with pytest.raises(RayformError, match=r"\['a'\]\[1\]\['b'\]"):
        save_value(local_store, new_id(), {"a": [1, {"b": dt.date(2024, 1, 1)}]})
    assert not list(local_store.list_objects())


@pytest.mark.parametrize("value", [np.str_("a\0"), [np.str_("a\0")], np.bytes_(b"a\0")])
def test_scalars_that_numpy_cuts_are_refused(through: Through, value: Any) -> None:
    """NumPy's own strings lose null characters at the end in every array, so they can't be stored in one."""
    with pytest.raises(NotProvedError):
        through(value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_estimator_of_sklearn_comes_back(tmp_path: Path, local_store: LocalArtifactStore) -> None:
    """Fitted on a small data set and loaded in a new process, it has the same parameters and computes the same."""
    saved, originals, refused = [], [], []
    for name, estimator, data in fitted_estimators():
        try:
            saved.append(save_value(local_store, new_id(), estimator))
        except UsageError:
            refused.append(name)
        else:
            originals.append((name, estimator, data))
    assert len(originals) > 200
    # skops doesn't store its tree, whose nodes refer to each other; the error offers pickling.
    assert refused == ["Birch"]
    for (name, estimator, data), loaded in zip(
        originals, loaded_elsewhere(tmp_path, local_store, saved), strict=True
    ):
        assert type(loaded) is type(estimator), f"{name}: {loaded}"
        ours, theirs = computed(estimator, data), computed(loaded, data)
        assert ours.keys() == theirs.keys()
        assert ours.pop("parameters") == theirs.pop("parameters"), name
        for method, results in ours.items():
            for one, other in zip(results, theirs[method], strict=True):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    # The order of an array's elements in memory changes the last bit of a sum.
                    np.testing.assert_allclose(one, other, rtol=1e-12, err_msg=f"{name}.{method}") if (
                        np.asarray(one).dtype.kind in "fc"
                    ) else np.testing.assert_array_equal(one, other, f"{name}.{method}")
