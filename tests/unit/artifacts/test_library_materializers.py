"""Values of widely used libraries come back as they were, with metadata and pictures."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayform_core.errors import UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.types import CSVString, HTMLString, JSONString, MarkdownString
from rayform_runtime.artifacts.values import save_value

Through = Callable[..., tuple[Any, Any]]

DTYPES = ["?", "i1", "<u4", ">i8", "f2", "<f4", ">f8", "c16", "S5", "U3", "M8[ns]", "m8[s]", "g"]
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_array_comes_back_exactly(through: Through, data: st.DataObject) -> None:
    """Bytes, dtype, shape, of every plain dtype and any shape, in both orders."""
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    shape = data.draw(shapes)
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind in "?bUg":
        array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    else:
        array = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
    if data.draw(st.booleans()):
        array = np.asfortranarray(array)
    loaded, saved = through(array)
    assert type(loaded) is np.ndarray
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.tobytes() == array.tobytes()
    assert loaded.flags.writeable
    assert saved.manifest.metadata["shape"] == list(array.shape)


def test_a_large_array_is_mapped_and_may_be_written_to(through: Through) -> None:
    """Writing into a loaded array never changes the store."""
    array = np.arange(1_000_000, dtype=np.float64)
    loaded, saved = through(array)
    loaded[:] = 0
    again, _ = through(array)
    assert again.sum() == array.sum()
    metadata = saved.manifest.metadata
    assert (metadata["min"], metadata["max"], metadata["nbytes"]) == (0.0, 999_999.0, 8_000_000)
    assert [v.kind for v in saved.visualizations] == ["html"]


@pytest.mark.parametrize(
    "array",
    [
        np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[0, 1, 0], fill_value=-1),
        np.array([(1, 2.5, b"a")], dtype=[("a", "i4"), ("b", "f8"), ("c", "S2")]),
        np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([np.nan, 1.0, np.inf]),
        np.arange(10)[::2],
    ],
    ids=["masked", "structured", "record", "nan", "strided"],
)
def test_special_arrays_come_back(through: Through, array: Any) -> None:
    """Masks, fields, views and NaN survive."""
    loaded, _ = through(array)
    assert type(loaded) is type(array)
    assert loaded.dtype == array.dtype
    assert loaded.tobytes() == array.tobytes()
    if isinstance(array, np.ma.MaskedArray):
        assert (loaded.mask == array.mask).all()
        assert loaded.fill_value == array.fill_value


@pytest.mark.parametrize(
    "scalar", [np.float64(0.1), np.int8(-3), np.bool_(True), np.str_("é"), np.datetime64("2024-01-01")]
)
def test_scalars_keep_their_type(through: Through, scalar: Any) -> None:
    """A NumPy number isn't a Python number, alone and in containers."""
    loaded, _ = through(scalar)
    assert type(loaded) is type(scalar)
    assert loaded == scalar
    nested, _ = through({"a": [scalar]})
    assert type(nested["a"][0]) is type(scalar)
    assert nested["a"][0] == scalar


def test_arrays_of_objects_that_nothing_stores_are_refused(through: Through) -> None:
    """They could only be pickled; the error names the element."""
    with pytest.raises(UsageError, match=r"'builtins:object' \(at value\[1\]\)"):
        through(np.array([1, object()]))
    with pytest.raises(UsageError, match="Python objects"):
        through(np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]))


FRAME = pd.DataFrame(
    {
        "i": [1, 2, 3],
        "f": [0.5, np.nan, 2],
        "s": ["a", None, "c"],
        "c": pd.Categorical(["x", "y", "x"], categories=["y", "x"], ordered=True),
        "t": pd.to_datetime(["2024-01-01", "2024-06-01", None]).tz_localize("Europe/Berlin"),
        "n": pd.array([1, None, 3], dtype="Int64"),
        "b": [True, False, True],
        "d": pd.to_timedelta([1, 2, 3], unit="s"),
        "l": [[1], [2, 3], []],
    },
    index=pd.Index([10, 20, 30], name="key"),
)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        pd.DataFrame(),
        pd.DataFrame({1: [1], 2: [2]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])),
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])),
        pd.DataFrame({"a": [1]}, index=pd.date_range("2024-01-01", periods=1, tz="UTC")),
        pd.DataFrame({"a": np.array(["x", "y"], dtype=object)}),
        pd.DataFrame({"p": pd.period_range("2024-01", periods=2, freq="M")}),
    ],
    ids=[
        "types",
        "empty",
        "int columns",
        "double columns",
        "multi columns",
        "multi index",
        "dates",
        "object",
        "period",
    ],
)
def test_data_frames_come_back(through: Through, frame: pd.DataFrame) -> None:
    """Index, column names and types survive."""
    loaded, saved = through(frame)
    if "l" in frame:
        loaded["l"] = loaded["l"].map(list)
    pd.testing.assert_frame_equal(loaded, frame, check_freq=False)
    assert saved.manifest.metadata["shape"] == list(frame.shape)


def test_frame_metadata_and_pictures(through: Through) -> None:
    """Columns, missing values and ranges are known without a second load; describe and head are shown."""
    _, saved = through(FRAME)
    metadata = saved.manifest.metadata
    assert metadata["rows"] == 3
    assert metadata["columns"]["i"] == "int64"
    assert metadata["missing"] == {"f": 1, "s": 1, "t": 1, "n": 1}
    assert metadata["statistics"]["f"] == {"nan": 1, "min": 0.5, "max": 2.0, "mean": 1.25}
    assert {(v.name, v.kind) for v in saved.visualizations} == {
        ("describe.csv", "csv"),
        ("head.html", "html"),
    }


@pytest.mark.parametrize("name", [None, "x", 3, ("a", 1)])
def test_series_come_back(through: Through, name: Any) -> None:
    """With their names, of any type."""
    series = pd.Series([1.5, 2.5], index=["a", "b"], name=name)
    loaded, _ = through(series)
    pd.testing.assert_series_equal(loaded, series)
    assert loaded.name == name


def test_a_column_of_mixed_types_is_refused(through: Through) -> None:
    """With its name, rather than turned into something else."""
    with pytest.raises(UsageError, match="mixed"):
        through(pd.DataFrame({"mixed": [1, "a", object()]}))


def test_timestamps_in_containers(through: Through) -> None:
    """pandas' own times keep their type, unit and zone."""
    value = [
        pd.Timestamp("2024-01-01 10:00", tz="Europe/Berlin"),
        pd.Timestamp("2024-01-01"),
        pd.Timedelta("1h"),
    ]
    loaded, _ = through(value)
    assert loaded == value
    assert [type(v) for v in loaded] == [type(v) for v in value]


POLARS = pl.DataFrame(
    {
        "i": [1, 2, None],
        "c": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
        "e": pl.Series(["x", "y", "x"], dtype=pl.Enum(["x", "y"])),
        "t": [dt.datetime(2024, 1, 1), None, dt.datetime(2025, 1, 1)],
        "d": [dt.timedelta(seconds=1)] * 3,
        "l": [[1], [2, 3], []],
        "s": [{"a": 1}, {"a": 2}, {"a": None}],
    }
)


@pytest.mark.parametrize("frame", [POLARS, pl.DataFrame(), pl.DataFrame({"a": []}, schema={"a": pl.Int8})])
def test_polars_frames_come_back(through: Through, frame: pl.DataFrame) -> None:
    """All types survive."""
    loaded, saved = through(frame)
    assert loaded.equals(frame)
    assert loaded.schema == frame.schema
    assert saved.manifest.metadata["shape"] == list(frame.shape)


def test_polars_series_come_back(through: Through) -> None:
    """With name and type; Python objects are refused."""
    series = pl.Series("n", [1, None, 3], dtype=pl.UInt16)
    loaded, _ = through(series)
    assert loaded.equals(series, check_names=True, check_dtypes=True)
    with pytest.raises(UsageError, match="Python objects"):
        through(pl.Series("o", [object()], dtype=pl.Object))


def test_arrow_tables_come_back(through: Through) -> None:
    """Schema, metadata and data survive, for tables and record batches."""
    table = pa.table({"a": pa.array([1, None], pa.int8()), "d": pa.array(["x", "y"]).dictionary_encode()})
    table = table.replace_schema_metadata({"k": "v"})
    loaded, saved = through(table)
    assert loaded.equals(table, check_metadata=True)
    assert saved.manifest.metadata["missing"] == {"a": 1}
    batch = pa.record_batch({"a": [1, 2]})
    assert through(batch)[0].equals(batch)
    assert through(pa.table({"a": pa.array([], pa.int8())}))[0].num_rows == 0


def test_sklearn_estimators_come_back(through: Through) -> None:
    """A fitted pipeline predicts the same; its parameters and classes are metadata."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(0).normal(size=(60, 4))
    y = (x[:, 0] > 0).astype(int)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(x, y)
    loaded, saved = through(model)
    assert (loaded.predict_proba(x) == model.predict_proba(x)).all()
    assert saved.artifact_type == "model"
    assert saved.manifest.metadata["classes"] == [0, 1]
    forest = model[-1]
    assert through(forest)[1].manifest.metadata["parameters"]["n_estimators"] == 5


def test_an_untrusted_estimator_is_refused_with_the_choice(through: Through) -> None:
    """No silent pickle: the error names the types and both ways out, and each works."""
    from sklearn.preprocessing import FunctionTransformer

    from rayform_runtime.artifacts.materializers.pickled import CloudpickleMaterializer
    from rayform_runtime.artifacts.materializers.sklearn_estimators import SklearnMaterializer

    model = FunctionTransformer(own_function)
    with pytest.raises(UsageError, match="(?s)own_function.*CloudpickleMaterializer"):
        through(model)

    class Trusting(SklearnMaterializer):
        TRUSTED = (f"{__name__}.own_function",)

    import sys

    sys.modules[__name__].Trusting = Trusting
    Trusting.__qualname__ = "Trusting"
    assert through(model, materializer=Trusting)[0].func is own_function
    assert through(model, materializer=CloudpickleMaterializer)[0].transform(2) == 4


def own_function(x: Any) -> Any:
    return x * 2


torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width))
        self.out = torch.nn.Linear(width, 3, bias=False)
        self.back = torch.nn.Linear(3, width, bias=False)
        self.back.weight = torch.nn.Parameter(self.out.weight.T.detach().clone())
        self.again = self.out
        self.activation = torch.nn.functional.relu
        self.shape = (width, {"a": 1})
        self.dtype_used = torch.float32
        self.register_buffer("scale", torch.tensor([2.0]), persistent=False)
        self.frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Any) -> Any:
        return self.again(self.activation(self.layers(x))) * self.scale + self.frozen


def test_torch_modules_come_back_without_their_arguments(through: Through) -> None:
    """The rebuilt module computes the same; shared modules stay shared; modes and buffers survive."""
    net = Net(5).eval()
    x = torch.randn(4, 3)
    loaded, saved = through(net)
    assert type(loaded) is Net
    assert torch.equal(loaded(x), net(x))
    assert loaded.again is loaded.out
    assert not loaded.training
    assert loaded.shape == (5, {"a": 1})
    assert not loaded.frozen.requires_grad
    assert loaded.state_dict().keys() == net.state_dict().keys()
    assert saved.artifact_type == "model"
    assert saved.manifest.metadata["parameters"] == sum(p.numel() for p in net.parameters())
    transformer = torch.nn.TransformerEncoderLayer(8, 2, 16).eval()
    x = torch.randn(2, 3, 8)
    assert torch.equal(through(transformer)[0](x), transformer(x))


def test_a_torch_module_with_a_lambda_or_a_hook_is_refused(through: Through) -> None:
    """Functions without a name can't be kept."""
    net = Net(2)
    net.activation = lambda x: x
    with pytest.raises(UsageError, match="module.activation"):
        through(net)
    net = Net(2)
    net.out.register_forward_hook(lambda *a: None)
    with pytest.raises(UsageError, match="hooks"):
        through(net)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).reshape(2, 3).T,
        torch.randn(3, requires_grad=True),
        torch.nn.Parameter(torch.randn(2), requires_grad=False),
        torch.tensor(1.5, dtype=torch.bfloat16),
        torch.tensor([1 + 2j]),
        torch.eye(3).to_sparse(),
        torch.empty(0, 3),
        torch.tensor([True]),
    ],
    ids=["view", "grad", "parameter", "bf16", "complex", "sparse", "empty", "bool"],
)
def test_tensors_come_back(through: Through, tensor: Any) -> None:
    """Type, dtype, shape and gradient flag survive."""
    loaded, saved = through(tensor)
    assert type(loaded) is type(tensor)
    assert (loaded.dtype, loaded.shape, loaded.requires_grad) == (
        tensor.dtype,
        tensor.shape,
        tensor.requires_grad,
    )
    assert torch.equal(loaded.to_dense(), tensor.to_dense())
    assert saved.manifest.metadata["shape"] == list(tensor.shape)


def test_a_state_dict_comes_back(through: Through) -> None:
    """A dict of tensors is a container like another."""
    state = dict(Net(3).state_dict())
    loaded, _ = through(state)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "HSV", "I;16"])
def test_images_come_back(through: Through, mode: str) -> None:
    """Every pixel, in every mode."""
    from PIL import Image

    image = Image.frombytes("RGB", (5, 4), bytes(range(60))).convert("L" if mode in ("I;16", "LA") else "RGB")
    image = image.convert(mode)
    loaded, saved = through(image)
    assert type(loaded) is Image.Image
    assert (loaded.mode, loaded.size, loaded.tobytes()) == (image.mode, image.size, image.tobytes())
    assert saved.visualizations[0].kind == "image"
    assert saved.manifest.metadata["width"] == 5


def test_figures_come_back_as_pictures(through: Through) -> None:
    """PNG and SVG, the same bytes for the same figure."""
    from matplotlib.figure import Figure
    from PIL import Image

    figures = []
    for _ in range(2):
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([1, 2, 3])
        figure.axes[0].set_title("losses")
        figures.append(through(figure))
    loaded, saved = figures[0]
    assert isinstance(loaded, Image.Image)
    assert {v.name for v in saved.visualizations} == {"figure.png", "figure.svg"}
    assert saved.manifest.metadata["axes"] == ["losses"]
    assert saved.manifest.digest == figures[1][1].manifest.digest
    assert saved.artifact_type == "data_analysis"


@pytest.mark.parametrize("kind", [HTMLString, MarkdownString, CSVString, JSONString])
def test_picture_strings_come_back(through: Through, kind: Any) -> None:
    """They keep their type and are shown."""
    loaded, saved = through(kind("<b>é</b>"))
    assert type(loaded) is kind
    assert loaded == "<b>é</b>"
    assert [v.kind for v in saved.visualizations] == [kind.kind]


@pytest.mark.parametrize("value", ["text", "", "é\ud800\r\n", b"bytes", b""])
def test_text_and_bytes_come_back(through: Through, value: Any) -> None:
    """To the byte, line ends and lone surrogates too."""
    assert through(value)[0] == value


def test_files_and_folders_come_back(through: Through, tmp_path: Path) -> None:
    """With names, empty folders and executable files; the loader gets a copy of its own."""
    folder = tmp_path / "my data"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub/run.sh").write_text("#!/bin/sh")
    (folder / "sub/run.sh").chmod(0o755)
    (folder / "link.txt").symlink_to("a.txt")
    loaded, saved = through(folder)
    assert loaded.name == "my data"
    assert loaded != folder
    assert (loaded / "sub/empty").is_dir()
    assert (loaded / "sub/run.sh").stat().st_mode & 0o100
    assert (loaded / "link.txt").read_text() == "a"
    assert saved.manifest.metadata["files"] == 3
    (loaded / "a.txt").write_text("changed")
    assert (through(folder)[0] / "a.txt").read_text() == "a"
    file, _ = through(folder / "a.txt")
    assert (file.name, file.read_text()) == ("a.txt", "a")


def test_paths_that_lead_elsewhere_are_refused(through: Through, tmp_path: Path) -> None:
    """A link out of the folder, a broken one, and a path that isn't there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    for target, why in ((tmp_path / "secret", "leads out"), ("missing", "broken"), (tmp_path, "folder")):
        (folder / "link").symlink_to(target)
        with pytest.raises(UsageError, match=why):
            through(folder)
        (folder / "link").unlink()
    with pytest.raises(UsageError, match="no file or folder"):
        through(tmp_path / "never")


@dataclasses.dataclass
class Batch:
    images: np.ndarray
    labels: pd.Series
    notes: dict[str, Any]


class Report(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    frame: pd.DataFrame
    score: float


class Pair(NamedTuple):
    left: Any
    right: Any


def test_containers_of_anything_come_back(through: Through) -> None:
    """Arrays, frames and models in tuples, dicts, dataclasses, models and named tuples, nested."""
    array = np.arange(10_000.0).reshape(100, 100)
    value = Pair((array, FRAME), [{"batch": Batch(array[0], FRAME["i"], {"t": torch.ones(2), "s": {1}})}])
    loaded, _ = through(value)
    assert type(loaded) is Pair
    assert (loaded.left[0] == array).all()
    assert loaded.left[0].flags.writeable
    assert list(loaded.left[1].columns) == list(FRAME.columns)
    batch = loaded.right[0]["batch"]
    assert type(batch) is Batch
    assert (batch.images == array[0]).all()
    pd.testing.assert_series_equal(batch.labels, FRAME["i"])
    assert torch.equal(batch.notes["t"], torch.ones(2))
    report, _ = through(Report(frame=FRAME[["i"]], score=0.5))
    pd.testing.assert_frame_equal(report.frame, FRAME[["i"]])


def test_attached_pictures_are_stored(local_store: LocalArtifactStore) -> None:
    """Own metadata wins over extracted; own pictures are stored with the value and don't change its digest."""
    plain = save_value(local_store, new_id(), np.arange(3))
    saved = save_value(
        local_store,
        new_id(),
        np.arange(3),
        metadata={"min": "mine", "x": 1},
        visualizations={"p.html": "<b>"},
    )
    assert saved.manifest.metadata["min"] == "mine"
    assert {v.name for v in saved.visualizations} == {"histogram.html", "p.html"}
    assert saved.manifest.digest == plain.manifest.digest
    with local_store.open_local(saved.uri) as folder:
        assert (folder / "visualizations/p.html").read_text() == "<b>"
    for name in ("../x.html", "a/b.html", "x.exe"):
        with pytest.raises(UsageError):
            save_value(local_store, new_id(), 1, visualizations={name: "x"})
