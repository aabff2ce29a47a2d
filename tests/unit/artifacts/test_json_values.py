"""Plain values and containers come back exactly as they were."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError
from rayform_runtime.artifacts.materializers.json_values import JsonMaterializer


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Bits(enum.Flag):
    A = 1
    B = 2


Point = namedtuple("Point", ["x", "y"])


@dataclasses.dataclass(frozen=True)
class Inner:
    values: tuple[int, ...]


@dataclasses.dataclass(slots=True)
class Outer:
    inner: Inner
    scores: dict[int, float]
    derived: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass
class Counted:
    items: list[int]

    def __post_init__(self) -> None:
        self.total = sum(self.items)


class Config(pydantic.BaseModel):
    rate: float
    layers: tuple[int, ...] = (1, 2)
    when: dt.datetime | None = None
    any: Any = None
    _cache: dict[str, int] = pydantic.PrivateAttr(default_factory=dict)


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int = 1


class Link(pydantic.BaseModel):
    url: pydantic.HttpUrl


class Login(pydantic.BaseModel):
    password: pydantic.SecretStr


def round_trip(value: Any, folder: Path) -> Any:
    place = folder / uuid.uuid4().hex
    place.mkdir()
    materializer = JsonMaterializer()
    materializer.save(value, place)
    materializer.extract_metadata(value)
    assert len(materializer.summary(value)) <= 72
    return materializer.load(place, type(value))


def same(a: Any, b: Any) -> bool:
    """Equal, of equal types, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return (
            len(a) == len(b) and all(map(same, a.keys(), b.keys())) and all(map(same, a.values(), b.values()))
        )
    return bool(a == b)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.complex_numbers(allow_nan=False)
    | st.binary(max_size=60)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.sampled_from([Color.RED, Level.HIGH, Bits.A | Bits.B, Bits(0), Point(1, (2,))])
)
hashables = st.none() | st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(hashables, inner, max_size=5)
        | st.dictionaries(st.sampled_from(["$set", "$item", "a", ""]), inner, max_size=3)
        | st.sets(hashables, max_size=5)
        | st.frozensets(hashables, max_size=5)
        | st.lists(inner, max_size=3).map(deque)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=values)
def test_any_plain_value_comes_back_exactly(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Value and types survive any nesting."""
    assert same(round_trip(value, tmp_path_factory.mktemp("json", numbered=True)), value)


@pytest.mark.parametrize(
    "value",
    [
        10**6000,
        -(10**6000),
        [10**6000, 1],
        -0.0,
        float("inf"),
        "\ud800 lone surrogate",
        Outer(Inner((1, 2)), {1: 0.5}),
        Config(rate=0.1, when=dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
        Config(rate=0.1, any={"t": (1, {2})}),
        Loose.model_validate({"a": 2, "more": [1, (2,)]}),
        Link(url="https://example.org/a"),  # type: ignore[arg-type]
        Counter("hello"),
        OrderedDict([("b", 1), ("a", 2)]),
        defaultdict(list, {"a": [1]}),
        deque([1, 2], maxlen=2),
        range(0, 10, 3),
        PurePosixPath("a/b"),
        Fraction(1, 3),
        Decimal("1.10"),
        bytearray(b"abc"),
        b"x" * 10_000,
        {"nested": b"x" * 10_000},
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "X")),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        {"$tuple": [1]},
        {1: "a", "1": "b"},
    ],
    ids=lambda v: type(v).__name__,
)
def test_special_values_come_back_exactly(value: Any, tmp_path: Path) -> None:
    """Numbers beyond JSON, models, named zones, dicts that look like our tags."""
    loaded = round_trip(value, tmp_path)
    assert type(loaded) is type(value)
    assert loaded == value
    if isinstance(value, Config):
        assert same(loaded.any, value.any)
        assert loaded.model_fields_set == value.model_fields_set
    if isinstance(value, deque):
        assert loaded.maxlen == value.maxlen
    if isinstance(value, dt.datetime):
        assert (loaded.tzname(), loaded.fold) == (value.tzname(), value.fold)


def test_attributes_that_are_not_fields_and_private_ones_survive(tmp_path: Path) -> None:
    """What __post_init__ set and a model's private attributes are part of the value."""
    assert round_trip(Counted([1, 2]), tmp_path).total == 3
    config = Config(rate=1)
    config._cache["a"] = 1
    assert round_trip(config, tmp_path)._cache == {"a": 1}


def test_equal_sets_give_equal_files(tmp_path: Path) -> None:
    """The order of a set doesn't reach the digest."""
    for name, value in (("a", {"x", "y", "z", 1}), ("b", {1, "z", "y", "x"})):
        (tmp_path / name).mkdir()
        JsonMaterializer().save(value, tmp_path / name)
    assert (tmp_path / "a/value.json").read_bytes() == (tmp_path / "b/value.json").read_bytes()


def test_a_secret_is_refused(tmp_path: Path) -> None:
    """A SecretStr is neither stored in clear nor turned into asterisks."""
    with pytest.raises(UsageError, match="SecretStr"):
        round_trip(Login(password="hunter2"), tmp_path)  # type: ignore[arg-type]
    assert not any(b"hunter2" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_a_value_that_contains_itself_is_refused(tmp_path: Path) -> None:
    """A cycle is a clear error."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UsageError, match="contains itself"):
        round_trip(loop, tmp_path)


def test_a_class_inside_a_function_is_refused(tmp_path: Path) -> None:
    """What can't be imported can't be loaded, so it isn't saved."""

    @dataclasses.dataclass
    class Local:
        a: int = 1

    with pytest.raises(UsageError, match="can't be imported"):
        round_trip(Local(), tmp_path)


def test_a_subclass_of_a_builtin_is_refused(tmp_path: Path) -> None:
    """A user-defined dict class doesn't silently come back as a dict."""

    class Mine(dict[str, int]):
        pass

    with pytest.raises(UsageError, match="no materializer takes"):
        round_trip({"a": [Mine()]}, tmp_path)


def test_a_changed_dataclass_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new field without a default and a field that is gone are errors; a new one with a default is filled."""
    JsonMaterializer().save(Inner((1,)), tmp_path)

    @dataclasses.dataclass
    class More:
        values: tuple[int, ...]
        extra: int

    @dataclasses.dataclass
    class Default:
        values: tuple[int, ...]
        extra: int = 4

    @dataclasses.dataclass(slots=True)
    class Fewer:
        other: int = 1

    import sys

    module = sys.modules[__name__]
    for changed in (More, Fewer):
        monkeypatch.setattr(module, "Inner", changed)
        with pytest.raises(TypeChangedError, match="doesn't fit"):
            JsonMaterializer().load(tmp_path, changed)
    monkeypatch.setattr(module, "Inner", Default)
    assert JsonMaterializer().load(tmp_path, Default).extra == 4


def test_a_changed_model_is_validated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field whose type changed is converted if pydantic can do that, and is an error otherwise."""
    JsonMaterializer().save(Config(rate=0.5), tmp_path)

    class Config2(pydantic.BaseModel):
        rate: str

    class Config3(pydantic.BaseModel):
        rate: float
        layers: tuple[int, ...] = ()
        when: dt.datetime | None = None
        any: Any = None
        new: int = 5

    import sys

    module = sys.modules[__name__]
    monkeypatch.setattr(module, "Config", Config2)
    with pytest.raises(TypeChangedError):
        JsonMaterializer().load(tmp_path, Config2)
    monkeypatch.setattr(module, "Config", Config3)
    assert JsonMaterializer().load(tmp_path, Config3).new == 5
