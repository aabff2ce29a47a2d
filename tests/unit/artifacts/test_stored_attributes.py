"""Objects and arrays that are stored part by part come back with exactly the parts that they had."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import PIL.Image
import pydantic
import pytest
import torch
from dateutil import tz
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rayform_core.errors import UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.import_paths import TypeChangedError
from rayform_runtime.artifacts.materializers.base import Materializer, prove_saved, unregister
from rayform_runtime.artifacts.materializers.registry import find
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.type_checks import check_type
from rayform_runtime.artifacts.values import load_value, save_value


class Hidden:
    """Has slots that no field names."""

    __slots__ = ("__secret", "seen")

    def hide(self, value: object) -> None:
        self.__secret = value

    def hidden(self) -> object:
        return self.__secret


@dataclasses.dataclass(slots=True)
class Slotted(Hidden):
    x: int = 1


@dataclasses.dataclass
class OfClass:
    a: int = dataclasses.field(default=3, init=False)


@attrs.define
class Plain:
    x: int = attrs.field(converter=lambda number: number + 1)
    _private: Any = "p"
    many: list[Any] = attrs.Factory(list)

    @functools.cached_property
    def costly(self) -> int:
        raise AssertionError("nobody asked for it")


@attrs.define
class Longer(Plain):
    z: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.z = self.x * 2


@attrs.frozen(cache_hash=True)
class Frozen:
    x: str


@attrs.define(slots=False)
class Open:
    x: int = 1


@attrs.define
class Lock:
    held: type


class Root(pydantic.RootModel[dict[int, list[int]]]):
    pass


class Cached(pydantic.BaseModel):
    x: int

    @functools.cached_property
    def twice(self) -> list[int]:
        return [self.x, self.x]

    @functools.cached_property
    def unstorable(self) -> object:
        return object()


def round_trip(value: Any, folder: Path) -> Any:
    materializer = find(type(value))
    assert materializer is not None
    worker = materializer()
    worker.save(value, folder)
    prove_saved(worker, value, folder)
    worker.extract_metadata(value)
    worker.summary(value)
    return materializer().load(folder, type(value))


def test_slots_of_a_base_class_come_back(tmp_path: Path) -> None:
    """They are no fields, and still part of the object."""
    value = Slotted(2)
    value.seen = [1]
    value.hide("s")
    loaded = round_trip(value, tmp_path)
    assert (loaded, loaded.seen, loaded.hidden()) == (value, [1], "s")


def test_a_default_of_the_class_stays_with_the_class(tmp_path: Path) -> None:
    """`__init__` doesn't set a field with `init=False`; loading doesn't either."""
    assert vars(round_trip(OfClass(), tmp_path)) == vars(OfClass()) == {}


@pytest.mark.parametrize(
    "value",
    [
        Plain(1, {2: (3,)}, [Plain(4)]),
        Longer(5),
        Frozen("x"),
        Open(2),
        [Plain(np.int8(3)), {"a": Frozen("y")}],
    ],
    ids=str,
)
def test_attrs_classes_come_back(value: Any, tmp_path: Path) -> None:
    """No converter, validator or property of theirs runs again."""
    if isinstance(value, Frozen):
        hash(value)
    loaded = round_trip(value, tmp_path)
    assert type(loaded) is type(value)
    assert loaded == value
    if isinstance(value, Frozen):
        assert hash(loaded) == hash(value)


def test_attrs_classes_are_checked_by_their_fields() -> None:
    """A field that nothing can store is refused before the step runs."""
    check_type(Longer)
    with pytest.raises(UsageError, match="no materializer takes"):
        check_type(Lock)


def test_a_changed_attrs_class_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New fields get their defaults; one without is an error that names it."""
    round_trip(Open(2), tmp_path)
    worker: Any = find(Open)

    @attrs.define(slots=False)
    class Fine:
        x: int
        y: list[int] = attrs.Factory(lambda: [1])
        z: int = 5

    monkeypatch.setitem(globals(), "Open", Fine)
    assert worker().load(tmp_path, Fine) == Fine(2, [1], 5)

    @attrs.define
    class Broken:
        x: int
        y: int

    monkeypatch.setitem(globals(), "Open", Broken)
    with pytest.raises(TypeChangedError, match="'y'"):
        worker().load(tmp_path, Broken)


def test_models_keep_their_attributes(tmp_path: Path) -> None:
    """A root model gets no more than its root, and a cached property keeps its value or is computed again."""
    root = Root({1: [2]})
    loaded = round_trip(root, tmp_path)
    assert loaded == root
    assert vars(loaded) == vars(root)
    cached = Cached(x=2)
    cached.twice.append(3)
    assert cached.unstorable is not None
    (tmp_path / "cached").mkdir()
    assert vars(round_trip(cached, tmp_path / "cached")) == {"x": 2, "twice": [2, 2, 3]}


def test_times_that_libraries_read_from_text_come_back(tmp_path: Path) -> None:
    """pydantic and dateutil have classes of their own for zones."""
    read = pydantic.TypeAdapter(pydantic.AwareDatetime).validate_python
    times = [read("2026-01-31T12:00:00Z"), read("2026-01-31T12:00:00+05:30")]
    times += [times[0].replace(tzinfo=zone) for zone in (tz.tzutc(), tz.gettz("Europe/Berlin"))]
    for time, loaded in zip(times, round_trip(times, tmp_path), strict=True):
        assert (loaded, loaded.utcoffset()) == (time, time.utcoffset())
        assert type(loaded.tzinfo) is type(time.tzinfo)


elements = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=elements)
)
def test_arrays_of_objects_come_back(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    """Elements keep their types: a list in an array stays a list."""
    for value in (array, {"nested": [array]}):
        loaded = round_trip(value, tmp_path_factory.mktemp("array"))
        loaded = loaded["nested"][0] if isinstance(value, dict) else loaded
        assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
        assert repr(list(loaded.flat)) == repr(list(array.flat))


@pytest.mark.parametrize(
    "options", [{}, {"na_object": None}, {"na_object": np.nan, "coerce": False}], ids=str
)
def test_arrays_of_text_of_any_length_come_back(options: dict[str, Any], tmp_path: Path) -> None:
    """With what stands for missing text, and whether other types become text."""
    dtype: Any = np.dtypes.StringDType(**options)
    missing = [options["na_object"]] if "na_object" in options else []
    array = np.array([["a"], ["lon\u0000ger"], *([each] for each in missing)], dtype=dtype)
    loaded = round_trip(array, tmp_path)
    assert loaded.dtype == dtype
    assert repr(loaded.tolist()) == repr(array.tolist())


def test_a_hard_mask_stays_hard(tmp_path: Path) -> None:
    """Assigning to a masked element of a loaded array does what it did before."""
    array = np.ma.array([1, 2], mask=[False, True], hard_mask=True)
    loaded = round_trip(array, tmp_path)
    loaded[1] = 5
    assert loaded.tolist() == [1, None]


def test_a_parametrized_module_loads_by_the_class_that_it_was_made_of(
    local_store: LocalArtifactStore,
) -> None:
    """PyTorch makes a class for it that no module has; alone, and within a value."""
    module = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
    for value in (module, {"model": module}):
        saved = save_value(local_store, new_id(), value)
        loaded: Any = load_value(local_store, saved.uri)
        loaded = loaded["model"] if isinstance(loaded, dict) else loaded
        assert type(loaded).__name__ == "ParametrizedLinear"
        assert torch.equal(loaded.weight, module.weight)


def test_a_type_that_no_process_can_import_is_refused_before_it_is_stored(
    local_store: LocalArtifactStore,
) -> None:
    """Whatever its materializer: nothing is committed that can't be loaded."""

    class Mine(str):
        pass

    class MineMaterializer(Materializer):
        ASSOCIATED_TYPES = (Mine,)

        def save(self, value: str, folder: Path) -> None:
            (folder / "text").write_text(value)

        def load(self, folder: Path, data_type: type) -> str:
            return data_type((folder / "text").read_text())

    try:
        for value in (Mine("a"), [Mine("a")]):
            with pytest.raises(UsageError, match="can't be imported"):
                save_value(local_store, new_id(), value)
        assert not list(local_store.list_objects())
    finally:
        unregister(Mine)


def test_a_state_dict_keeps_the_versions_of_its_layers(tmp_path: Path) -> None:
    """They are an attribute of an ordered dict."""
    state: Any = torch.nn.BatchNorm1d(2).state_dict()
    loaded = round_trip({"model": state}, tmp_path)["model"]
    assert list(loaded) == list(state)
    assert loaded._metadata == state._metadata


def test_an_image_keeps_what_it_says_about_itself(tmp_path: Path) -> None:
    """EXIF data and the resolution are in `info`."""
    image = PIL.Image.new("RGB", (2, 2))
    image.info = {"dpi": (72, 72), "exif": b"Exif"}
    loaded = round_trip(image, tmp_path)
    assert loaded.info == image.info
    assert loaded.tobytes() == image.tobytes()
