"""Which materializer takes a value, and the error if none does."""

from __future__ import annotations

import abc
import dataclasses
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from rayform_core.errors import UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.import_paths import TypeGoneError, import_path
from rayform_runtime.artifacts.materializers import registry
from rayform_runtime.artifacts.materializers.base import Materializer
from rayform_runtime.artifacts.materializers.pickled import CloudpickleMaterializer
from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError, materializer_for
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.type_checks import check_type
from rayform_runtime.artifacts.values import load_value, save_value


class Animal:
    def __init__(self, name: str) -> None:
        self.name = name


class Dog(Animal):
    pass


class Plain:
    """No materializer takes it."""


class Unseen:
    pass


@dataclasses.dataclass
class Holder:
    plain: Plain


@dataclasses.dataclass
class Fine:
    numbers: list[int]


class AnimalMaterializer(Materializer):
    def save(self, value: Animal, folder: Path) -> None:
        (folder / "name").write_text(value.name)

    def load(self, folder: Path, data_type: type) -> Any:
        return data_type((folder / "name").read_text())

    def extract_metadata(self, value: Animal) -> dict[str, Any]:
        raise RuntimeError("broken")

    def save_visualizations(self, value: Animal, folder: Path) -> dict[str, str]:
        (folder / "left").write_text("x")
        raise RuntimeError("broken too")


@pytest.fixture
def animals() -> Iterator[None]:
    registry.register(Animal, AnimalMaterializer)
    yield
    registry.unregister(Animal)


@pytest.mark.parametrize("declared", [Any, typing.SupportsIndex, Protocol, "Animal", list[int]], ids=str)
def test_a_declared_type_that_nothing_can_be_asked_for_is_no_other_error(
    local_store: LocalArtifactStore, declared: Any
) -> None:
    """The error names the value's own type, not the declared one."""
    with pytest.raises(UnsupportedTypeError, match="Animal"):
        save_value(local_store, new_id(), Animal("rex"), declared_type=lambda: declared)


@pytest.mark.usefixtures("animals")
def test_a_user_defined_materializer_takes_subclasses(local_store: LocalArtifactStore) -> None:
    """It takes a subclass, receives the subclass, and its failures to describe the value don't matter."""
    saved = save_value(local_store, new_id(), Dog("rex"))
    loaded = load_value(local_store, saved.uri)
    assert type(loaded) is Dog
    assert loaded.name == "rex"
    assert [file.path for file in saved.manifest.files] == ["name"]


def test_a_definition_registers_itself(local_store: LocalArtifactStore) -> None:
    """Naming types is enough, and the one defined last wins over built-in ones."""

    class UpperMaterializer(Materializer):
        ASSOCIATED_TYPES = (Animal,)

        def save(self, value: Animal, folder: Path) -> None: ...

        def load(self, folder: Path, data_type: type) -> Any: ...

    try:
        assert materializer_for(Dog) is UpperMaterializer
    finally:
        registry.unregister(Animal)
    with pytest.raises(UnsupportedTypeError):
        materializer_for(Dog)


@pytest.mark.usefixtures("animals")
def test_own_values_lie_in_containers(local_store: LocalArtifactStore) -> None:
    """A list of values of a user's own type is stored by its materializer."""
    loaded = load_value(local_store, save_value(local_store, new_id(), {"a": [Dog("rex"), Animal("x")]}).uri)
    assert [type(a) for a in loaded["a"]] == [Dog, Animal]


def test_the_error_names_step_output_type_and_the_way_out(local_store: LocalArtifactStore) -> None:
    """With lines to paste."""
    with pytest.raises(UnsupportedTypeError) as caught:
        save_value(local_store, new_id(), Plain(), step="train", output="model")
    text = str(caught.value)
    for part in (
        "'model'",
        "'train'",
        f"{__name__}:Plain",
        "class PlainMaterializer",
        "CloudpickleMaterializer",
    ):
        assert part in text
    assert not list(local_store.list_objects())
    with pytest.raises(UnsupportedTypeError, match=r"value\['a'\]\[1\]"):
        save_value(local_store, new_id(), {"a": [1, Plain()]})


def test_pickling_is_chosen(local_store: LocalArtifactStore) -> None:
    """And then works, by class and by import path."""
    for chosen in (CloudpickleMaterializer, import_path(CloudpickleMaterializer)):
        saved = save_value(local_store, new_id(), Animal("x"), materializer=chosen)
        assert load_value(local_store, saved.uri).name == "x"
    with pytest.raises(UsageError, match="no materializer"):
        save_value(local_store, new_id(), 1, materializer="json:loads")


def test_a_type_that_is_gone_is_reported(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has name and module, a similar name, and a way to load the value anyway."""
    saved = save_value(local_store, new_id(), Unseen(), materializer=CloudpickleMaterializer)
    monkeypatch.delattr(sys.modules[__name__], "Unseen")
    with pytest.raises(TypeGoneError, match="Unseen.*as_type"):
        load_value(local_store, saved.uri)
    with pytest.raises(TypeGoneError, match="can't be imported here.*no_such_package"):
        load_value(
            local_store,
            saved.uri,
            type="no_such_package.x:Y",
            materializer=saved.manifest.materializer,
            trusted=True,
        )


class Proto(Protocol):
    x: int


class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self) -> None: ...


class Typed(typing.TypedDict):
    a: int


T = typing.TypeVar("T")
Name = typing.NewType("Name", str)


@pytest.mark.parametrize(
    "annotation",
    [
        int, None, type(None), Any, T, Proto, Abstract, Typed, Name, object, Fine, "Unresolved",
        list[int], dict[str, list[float]], tuple[int, ...], typing.Annotated[int, "x"], int | None,
        typing.Literal["a"], typing.Iterable[int], typing.Callable[[int], int], Plain | None,
        list[Fine] | None,
    ],
    ids=str,
)  # fmt: skip
def test_annotations_that_may_hold_pass(annotation: Any) -> None:
    """Types that can be stored, and types that only the value decides about."""
    check_type(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        type[int],
        Plain,
        list[Plain],
        tuple[int, Plain],
        dict[str, Plain],
        typing.Annotated[Plain, "x"],
        Plain | Animal,
        Holder,
    ],
    ids=str,
)
def test_annotations_that_cannot_hold_are_refused(annotation: Any) -> None:
    """Before the step starts, however deep the type lies."""
    with pytest.raises(
        UnsupportedTypeError, match="Output 'out' of step 'make'.*(Plain|Animal|builtins:type)"
    ):
        check_type(annotation, step="make", output="out")


def test_a_registered_subclass_lets_its_base_pass() -> None:
    """A step annotated with a base may return the subclass that is taken."""
    registry.register(Dog, AnimalMaterializer)
    try:
        check_type(Animal)
    finally:
        registry.unregister(Dog)


def test_saving_a_plain_value_loads_no_library(tmp_path: Path) -> None:
    """Neither pydantic nor NumPy nor pandas nor a cloud's client is imported for a number."""
    script = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from rayform_core.ids import new_id\n"
        "from rayform_runtime.artifacts.stores.local import LocalArtifactStore\n"
        "from rayform_runtime.artifacts.values import load_value, save_value\n"
        "store = LocalArtifactStore(SimpleNamespace(path=sys.argv[1]), stack_name='t')\n"
        "assert load_value(store, save_value(store, new_id(), {'a': (1, 2)}).uri) == {'a': (1, 2)}\n"
        "heavy = {'pydantic', 'numpy', 'pandas', 'boto3', 'google', 'sqlalchemy', 'asyncio', 'concurrent.futures'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
