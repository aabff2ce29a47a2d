"""Values of every kind that a user may pass to a step, steps that take them, and a text that tells two apart."""

from __future__ import annotations

import collections
import dataclasses
import enum
import ipaddress
import re
import sys
import types
from array import array
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Protocol, TypedDict
from uuid import UUID

import attrs
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, computed_field, field_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from rayform import Step, step

# -- types of a user ------------------------------------------------------------------------------------------


@dataclass
class Optim:
    """Changes itself after it is made."""

    lr: float = 1.0
    batch: int = 512

    def __post_init__(self) -> None:
        self.lr = self.lr * self.batch / 256
        self.calls = getattr(self, "calls", 0) + 1


@dataclass
class Scaled:
    """Takes an argument that isn't a field."""

    value: float
    factor: InitVar[float] = 2.0

    def __post_init__(self, factor: float) -> None:
        self.value *= factor


@dataclass(init=False)
class OwnInit:
    """Has an `__init__` of its own."""

    text: str

    def __init__(self, number: int) -> None:
        self.text = f"number {number}"


@dataclass(frozen=True, slots=True)
class Point:
    """Frozen, with slots."""

    x: int
    y: Any = None


@dataclass(kw_only=True)
class Base:
    """Has subclasses."""

    depth: int = 1


@dataclass(kw_only=True)
class Deep(Base):
    """A subclass with a further field."""

    heads: Any = 2
    inner: Base | None = None
    many: list[Base] = field(default_factory=list)


@dataclass
class Cat:
    """Looks like a dog."""

    name: str


@dataclass
class Dog:
    """Looks like a cat."""

    name: str


@pydantic_dataclass
class Checked:
    """A dataclass of pydantic's with a validator that isn't idempotent."""

    count: int

    @field_validator("count")
    @classmethod
    def _more(cls, value: int) -> int:
        return value + 1


class Model(BaseModel):
    """Has a validator that isn't idempotent, and private state."""

    rate: float = 0.5
    _seen: int = PrivateAttr(default=0)

    @field_validator("rate")
    @classmethod
    def _double(cls, value: float) -> float:
        return value * 2

    def model_post_init(self, context: object) -> None:
        """Count the calls."""
        self._seen += 1


class Wide(Model):
    """A subclass with nested values."""

    pet: Cat | Dog | None = None
    base: Base = Base()
    sizes: tuple[int, ...] = ()
    by_key: dict[int, set[str]] = {}
    model: Model | None = None


class Aliased(BaseModel):
    """Has an alias, a computed field, and refuses what it doesn't know."""

    model_config = ConfigDict(extra="forbid")
    batch_size: int = Field(alias="batchSize")

    @computed_field  # type: ignore[prop-decorator] - mypy knows no decorated properties
    @property
    def twice(self) -> int:
        """Return twice the size."""
        return 2 * self.batch_size


class Open(BaseModel):
    """Keeps what it doesn't know."""

    model_config = ConfigDict(extra="allow")
    known: int = 0


class Pair(NamedTuple):
    """A named tuple."""

    left: Any
    right: int = 0


class Settings(TypedDict):
    """A typed dict of `typing`."""

    lr: float
    name: NotRequired[str]


class Color(enum.Enum):
    """An enumeration with values of several types."""

    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 2


class Split(enum.StrEnum):
    """Texts."""

    TRAIN = "train"
    TEST = "test"


class Access(enum.Flag):
    """Flags that combine."""

    READ = 1
    WRITE = 2


@attrs.define
class Shape:
    """A class of attrs with a converter that isn't idempotent."""

    size: int = attrs.field(converter=lambda size: size + 1)
    _inner: Any = None
    area: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.area = self.size**2


class Sized(Protocol):
    """What can't be checked at run time."""

    def length(self) -> int:
        """Return a length."""
        ...


# -- strategies -----------------------------------------------------------------------------------------------

_names = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
_zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata"]).map(
        lambda key: __import__("zoneinfo").ZoneInfo(key)
    ),
    st.integers(-1400, 1400).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["$item", "", "**"]),
)
_enums = st.one_of(
    st.sampled_from(Color),
    st.sampled_from(Level),
    st.sampled_from(Split),
    st.sampled_from([*Access, Access(3), Access(0)]),
)
hashable_values = st.one_of(
    plain,
    _enums,
    st.integers(10**30, 10**31),
    st.binary(max_size=20),
    st.complex_numbers(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.times(timezones=_zones),
    st.datetimes(timezones=_zones),
    st.timedeltas(),
    _names.map(lambda name: Path("data") / name.replace("\0", "")),
    st.just(PurePosixPath("/a/b")),
    st.just(PureWindowsPath("C:\\a")),
    st.ip_addresses(),
    st.sampled_from([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.1.0.1/8")]),
    st.just(re.compile("a+", re.IGNORECASE)),
    st.just(re.compile(b"a+")),
    st.just(timezone(timedelta(hours=2), "X")),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([-2, 1, 3])),
    st.builds(Point, st.integers(), st.integers() | _names),
    st.builds(Pair, st.integers() | _names, st.integers()),
    st.sampled_from([..., int, dict, Decimal, len]),
)
_models = st.deferred(
    lambda: st.one_of(
        st.builds(Model, rate=st.floats(allow_nan=False)),
        st.builds(
            Wide,
            pet=st.none() | pets,
            base=bases,
            sizes=st.lists(st.integers()).map(tuple),
            by_key=st.dictionaries(st.integers(), st.sets(_names, max_size=3), max_size=3),
            model=st.none() | st.builds(Model),
        ),
        st.builds(lambda n: Aliased(batchSize=n), st.integers()),
        st.builds(lambda n, x: Open(known=n, other=x), st.integers(), plain),
    )
)
bases = st.deferred(
    lambda: st.one_of(
        st.builds(Base, depth=st.integers()),
        st.builds(Deep, heads=hashable_values, inner=st.none() | bases, many=st.lists(bases, max_size=2)),
    )
)
pets = st.one_of(st.builds(Cat, _names), st.builds(Dog, _names))
objects = st.one_of(
    st.builds(Optim, st.floats(allow_nan=False), st.integers(1, 1000)),
    st.builds(Scaled, st.floats(allow_nan=False), st.floats(0, 3)),
    st.builds(OwnInit, st.integers()),
    st.builds(Checked, st.integers()),
    bases,
    pets,
    st.builds(Shape, st.integers(), hashable_values),
    _models,
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.one_of(
        hashable_values, st.tuples(hashable_values, hashable_values), st.frozensets(st.integers(), max_size=3)
    )
    maps = st.dictionaries(keys, inner, max_size=4)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        maps,
        st.dictionaries(_names, inner, max_size=4),
        maps.map(collections.OrderedDict),
        maps.map(lambda each: collections.defaultdict(list, each)),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.lists(inner, max_size=4).map(lambda each: collections.deque(each, maxlen=5)),
        st.lists(_names, max_size=4).map(collections.Counter),
        st.binary(max_size=9).map(bytearray),
        st.lists(st.integers(-9, 9), max_size=4).map(lambda each: array("i", each)),
        st.dictionaries(st.sampled_from(["a", "b"]), inner).map(lambda each: types.SimpleNamespace(**each)),
        st.dictionaries(_names, inner, max_size=2).map(types.MappingProxyType),
        st.dictionaries(_names, inner, max_size=2).map(collections.ChainMap),
        st.builds(Pair, inner, st.integers()),
        st.builds(slice, st.none() | st.integers(), st.none() | st.integers()),
    )


values = st.recursive(hashable_values | objects, _containers, max_leaves=6)

_ints = st.integers()
ANNOTATED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, values),
    (object, values),
    (Sized, values),
    (Shape, st.builds(Shape, _ints, values)),
    (int, _ints | st.booleans() | st.sampled_from(Level)),
    (float, st.floats() | _ints),
    (str, st.text(max_size=9) | st.sampled_from(Split)),
    (Cat | Dog, pets),
    (list[Cat | Dog], st.lists(pets, max_size=3)),
    (Base, bases),
    (list[Base], st.lists(bases, max_size=3)),
    (dict[str, Base], st.dictionaries(_names, bases, max_size=3)),
    (Optim, st.builds(Optim, st.floats(allow_nan=False))),
    (Model, st.builds(Model) | st.builds(Wide, base=bases)),
    (list[Model], st.lists(st.builds(Model) | st.builds(Wide, base=bases), max_size=2)),
    (Aliased, st.builds(lambda n: Aliased(batchSize=n), _ints)),
    (str | Path, st.text(max_size=5) | st.just(Path("/x"))),
    (tuple[int, ...], st.lists(_ints, max_size=3).map(tuple)),
    (tuple[int, str], st.tuples(_ints, _names)),
    (dict[int, str], st.dictionaries(_ints, _names, max_size=3)),
    (dict[tuple[int, int], list[int]], st.dictionaries(st.tuples(_ints, _ints), st.lists(_ints), max_size=3)),
    (set[int], st.sets(_ints, max_size=5)),
    (Mapping[str, Any], st.dictionaries(_names, values, max_size=2)),
    (Settings, st.fixed_dictionaries({"lr": st.floats() | _ints}, optional={"name": _names})),
    (list[Settings], st.lists(st.fixed_dictionaries({"lr": st.floats()}), max_size=2)),
    (Color | None, st.none() | st.sampled_from(Color)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (date | datetime, st.dates() | st.datetimes(timezones=_zones)),
    (Decimal | float | int, st.decimals() | st.floats() | _ints),
    (Annotated[float, Field(ge=0)], st.floats(0) | st.integers(0)),
    (UUID | bytes | str, st.uuids() | st.binary(max_size=9) | st.text(max_size=9)),
    (Pair, st.builds(Pair, values, _ints)),
    (time, st.times(timezones=_zones)),
    (timedelta | Fraction | complex, st.timedeltas() | st.fractions() | st.complex_numbers()),
]
"""Annotations, and values that fit them as they are."""


# -- steps ----------------------------------------------------------------------------------------------------


def describe(value: Any) -> str:
    """Return a text that is equal only for values of the same types and content, at all depths."""
    kind = type(value)
    name = "script." * (kind.__module__ == "__main__") + kind.__qualname__
    if isinstance(value, BaseModel):
        parts = (vars(value), value.model_extra, value.__pydantic_private__, value.model_fields_set)
        return f"{name}({', '.join(map(describe, parts))})"
    if dataclasses.is_dataclass(kind):
        names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
        names += [
            n for n in getattr(value, "__dict__", {}) if n not in names and not n.startswith("__pydantic")
        ]
        return f"{name}({', '.join(f'{n}={describe(getattr(value, n))}' for n in names)})"
    if attrs.has(kind):
        return f"{name}({', '.join(describe(getattr(value, f.name)) for f in attrs.fields(kind))})"
    if isinstance(value, type | types.BuiltinFunctionType | enum.Enum):
        return f"{name} {value!r}"
    if isinstance(value, collections.defaultdict | collections.deque):
        inner = list(value.items()) if isinstance(value, dict) else list(value)
        option = value.default_factory if isinstance(value, dict) else value.maxlen
        return f"{name}({option}, {describe(inner)})"
    if isinstance(value, dict | types.MappingProxyType):
        return f"{name}{{{', '.join(f'{describe(k)}: {describe(v)}' for k, v in value.items())}}}"
    if isinstance(value, collections.ChainMap):
        return f"{name}({', '.join(map(describe, value.maps))})"
    if isinstance(value, types.SimpleNamespace):
        return f"{name}({describe(vars(value))})"
    if isinstance(value, list | tuple):
        return f"{name}[{', '.join(map(describe, value))}]"
    if isinstance(value, set | frozenset):
        return f"{name}{{{', '.join(sorted(map(describe, value)))}}}"
    if isinstance(value, datetime | time):
        return f"{name} {value!r} {value.fold}"
    return f"{name} {value!r}"


ARGUMENTS = "abcdefgh"


def _taking(annotation: object, index: int) -> Step[..., list[str]]:
    def take(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> list[str]:
        return [describe(value) for value in (a, b, c, d, e, f, g, h)]

    take.__annotations__ = {**dict.fromkeys(ARGUMENTS, annotation), "return": list[str]}
    take.__name__ = take.__qualname__ = f"take_{index}"
    return step(enable_cache=False)(take)


TAKING = [_taking(annotation, index) for index, (annotation, _) in enumerate(ANNOTATED)]
"""For each annotation, a step with eight arguments of it, which describes what it gets."""
for _each in TAKING:
    setattr(sys.modules[__name__], _each.name, _each)


@step(enable_cache=False)
def returns_text() -> int:
    """Return something else than the annotation says."""
    return "oops"  # type: ignore[return-value] - the mistake that the test makes


@step
def measure(frame: Any, scale: Any = (1, 2)) -> tuple[str, str]:
    """Describe a data frame."""
    return repr(frame), describe(scale)
