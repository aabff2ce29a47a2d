"""scikit-learn estimators and PyTorch modules that others wrote: nothing runs, when loaded or when called."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import json
import os
import pkgutil
import subprocess
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.watching import watching

from rayform_core.errors import RayformError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.materializers.sklearn_names import CLASSES, FUNCTIONS
from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import load_value, save_value

sklearn = pytest.importorskip("sklearn")
skops_io = pytest.importorskip("skops.io")
torch = pytest.importorskip("torch")

SKLEARN = "rayform_runtime.artifacts.materializers.sklearn_estimators:SklearnMaterializer"
MODULE = "rayform_runtime.artifacts.materializers.torch_modules:TorchModuleMaterializer"
COMMANDS = [
    ("sklearn.utils._testing", "check_output"), ("subprocess", "check_output"), ("subprocess", "Popen"),
    ("os", "system"), ("builtins", "eval"), ("builtins", "exec"), ("joblib", "load"), ("pickle", "loads"),
    ("sklearn.externals._packaging.version", "parse"), ("sklearn.datasets._base", "load_files"),
    ("sklearn.utils", "_testing.check_output"), ("sklearn.utils._testing.subprocess", "check_output"),
    ("numpy", "load"), ("numpy", "fromfile"), ("numpy.testing", "rundocs"), ("unittest.__main__", "main"),
    ("sklearn.datasets", "fetch_openml"), ("sklearn.datasets._base", "_fetch_remote"),
]  # fmt: skip


class Net(torch.nn.Module):
    """A module of the project."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.activation = torch.tanh
        self.norm = torch.nn.LayerNorm
        self.type = "small"

    def forward(self, x: Any) -> Any:
        return self.activation(self.layer(x))


# -- scikit-learn -------------------------------------------------------------------------------------------------


def estimator(schema: object, members: dict[str, bytes] | None = None) -> bytes:
    """Return a file of skops with this schema."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
        for name, data in (members or {}).items():
            archive.writestr(name, data)
    return packed.getvalue()


def unpacked(value: object) -> tuple[Any, dict[str, bytes]]:
    """Return the schema and the other members of a file of skops."""
    with zipfile.ZipFile(io.BytesIO(skops_io.dumps(value))) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
        return json.loads(archive.read("schema.json")), members


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a schema."""
    if isinstance(value, dict):
        if "__module__" in value:
            yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def load_estimator(store: LocalArtifactStore, data: bytes) -> object:
    """Load a file of others."""
    files = {"estimator.skops": data}
    uri = store.commit_files(new_id(), files, type="sklearn.pipeline:Pipeline", materializer=SKLEARN).uri
    with watching() as watched:
        try:
            return load_value(store, uri)
        finally:
            assert not watched.acts
            assert not watched.unpickled


def fitted() -> object:
    """Return a pipeline with a function in it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.tree import DecisionTreeClassifier

    samples, classes = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    tree = DecisionTreeClassifier().fit(samples, classes)
    pipeline = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(samples, classes)
    pipeline.tree_ = tree
    return pipeline


@pytest.mark.parametrize("command", COMMANDS)
def test_an_estimator_names_no_command(local_store: LocalArtifactStore, command: tuple[str, str]) -> None:
    """Put in place of any part of an estimator, a function that runs commands or reads files is refused."""
    schema, members = unpacked(fitted())
    count = len(list(nodes(schema)))
    loaders = (None, "FunctionNode", "TypeNode", "ObjectNode", "ConstructorFromReduceNode")
    # Every part is exchanged by some of the commands: all parts with all commands would take minutes.
    for index in range(COMMANDS.index(command) % 9, count, 9):
        for loader in (loaders[index % 5], loaders[(index + 2) % 5]):
            changed = copy.deepcopy(schema)
            node = list(nodes(changed))[index]
            node["__module__"], node["__class__"] = command
            node["__loader__"] = loader or node["__loader__"]
            node.pop("__id__", None)
            try:
                loaded = load_estimator(local_store, estimator(changed, members))
            except RayformError:
                continue
            # Some nodes ignore what they are called; what they give is what they gave before.
            assert type(loaded).__module__.startswith("sklearn."), (index, loader)
            assert f"{command[0]}.{command[1]}" not in json.dumps(unpacked(loaded)[0])


def test_no_other_function_of_sklearn_is_trusted(local_store: LocalArtifactStore) -> None:
    """Of all functions that scikit-learn's modules hold, only the listed ones are loaded, whatever name leads there."""
    from sklearn.preprocessing import FunctionTransformer

    schema, members = unpacked(FunctionTransformer(np.log1p))
    node = next(node for node in nodes(schema) if node["__class__"] == "log1p")
    names = []
    for info in pkgutil.walk_packages(sklearn.__path__, "sklearn."):
        if any(
            part in info.name for part in (".tests", "externals", "conftest", "_build_utils", "experimental")
        ):
            continue
        module = importlib.import_module(info.name)
        names += [(info.name, name) for name, item in vars(module).items() if inspect.isroutine(item)]
    unlisted = [pair for pair in names if ".".join(pair) not in FUNCTIONS]
    assert len(unlisted) > 1000
    for node["__module__"], node["__class__"] in unlisted[:: max(1, len(unlisted) // 60)]:
        with pytest.raises(RayformError):
            load_estimator(local_store, estimator(schema, members))


def test_the_list_names_what_it_says() -> None:
    """Each listed class is a class, and each listed function a function, of NumPy, SciPy or scikit-learn."""
    for full in sorted(CLASSES | FUNCTIONS):
        module_name, _, name = full.rpartition(".")
        try:
            item = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError):
            continue  # of another version of scikit-learn
        assert isinstance(item, type) == (full in CLASSES), full
        assert item.__module__.partition(".")[0] in ("numpy", "scipy", "sklearn"), full
        assert item.__module__ not in ("subprocess", "os"), full


def test_own_files_of_commands_are_not_saved(local_store: LocalArtifactStore) -> None:
    """An estimator that holds a command isn't stored in the first place."""
    from sklearn.preprocessing import FunctionTransformer

    for command in (subprocess.check_output, os.system):
        with pytest.raises(RayformError):
            save_value(local_store, new_id(), FunctionTransformer(command))


def test_every_estimator_is_listed() -> None:
    """skops or the list trusts each class that scikit-learn lists; `test_library_materializers` fits and loads them."""
    from sklearn.utils import all_estimators
    from skops.io._trusted_types import SKLEARN_ESTIMATOR_TYPE_NAMES

    names = {f"{kind.__module__}.{kind.__name__}" for _, kind in all_estimators()}
    assert names
    assert names <= {*SKLEARN_ESTIMATOR_TYPE_NAMES, *CLASSES}


_names = st.sampled_from(
    [*(f"{a}|{b}" for a, b in COMMANDS), "numpy|dtype", "sklearn.tree._tree|Tree", "builtins|int"]
)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=15_000 if os.environ.get("RAYFORM_SEARCH") else 200)
def test_no_changed_schema_does_anything(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A schema with some of its parts exchanged gives an estimator or an error of Rayform."""
    if not _kept:
        store = LocalArtifactStore(LocalStoreConfig(path=str(tmp_path_factory.mktemp("f"))), stack_name="f")
        _kept.append((store, *unpacked(fitted())))
    store, schema, members = _kept[0]
    changed = copy.deepcopy(schema)
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(nodes(changed))
        node = places[data.draw(st.integers(0, len(places) - 1))]
        key = data.draw(st.sampled_from(sorted(node)))
        if key in ("__module__", "__class__"):
            node["__module__"], node["__class__"] = data.draw(_names).split("|")
        elif key == "__loader__":
            node[key] = data.draw(
                st.sampled_from([n["__loader__"] for n in places] + ["MethodNode", "PartialNode", "X"])
            )
        else:
            node[key] = data.draw(
                st.none() | st.integers(-3, 3) | st.text(max_size=3) | st.just({}) | st.just([])
            )
    try:
        load_estimator(store, estimator(changed, members))
    except RayformError:
        pass


_kept: list[tuple[LocalArtifactStore, Any, dict[str, bytes]]] = []


# -- PyTorch ------------------------------------------------------------------------------------------------------


def structure_of(store: LocalArtifactStore, module: Any) -> tuple[Any, dict[str, bytes]]:
    """Save a module; return its structure and all its files."""
    saved = save_value(store, new_id(), module)
    with store.open_local(saved.uri) as folder:
        files = {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.is_file() and "manifest" not in path.name
        }
    return json.loads(files["module.json"]), files


def load_module(store: LocalArtifactStore, structure: object, files: dict[str, bytes]) -> Any:
    """Load a module of others, and call it."""
    files = {**files, "module.json": json.dumps(structure).encode()}
    uri = store.commit_files(new_id(), files, type="torch.nn.modules.module:Module", materializer=MODULE).uri
    with watching() as watched:
        try:
            return load_value(store, uri)
        finally:
            assert not watched.acts
            assert not [name for name in watched.unpickled if not name.startswith("torch.")]


BAD_FUNCTIONS = [
    "os:system", "subprocess:run", "builtins:eval", "torch:load", "torch:save", "torch.hub:load",
    "torch.serialization:load",
    "torch.utils.cpp_extension:load_inline", "torch.utils.cpp_extension:subprocess.run", "torch:hub.load",
    "torch:compile",
    "torch.nn.functional:importlib.import_module", "torch.jit:load", "torch:import_ir_module", "torch:from_file",
    "torch._utils_internal:os.system", "torch.utils.data:DataLoader", "torch.nn.functional:warnings.warn",
    "os:remove",
    "unittest.__main__:main", "torch.testing._internal.common_utils:run_tests", "torch.distributed.run:main",
    "pickle:loads",
    "torch.package:PackageImporter", "torch.multiprocessing:spawn", "numpy:load", "shutil:rmtree",
    "torch.classes:load_library",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_FUNCTIONS)
def test_a_module_names_no_command(local_store: LocalArtifactStore, path: str) -> None:
    """A function that isn't a computation of PyTorch's or the project's is refused, wherever it stands."""
    structure, files = structure_of(local_store, Net())
    for stored in (
        {"function": path},
        {"class": path},
        {"value": {"$item": 0}},
        {"value": [{"$item": 0}]},
        {"value": {"$type": path}} if "(" in path else {"value": {"$enum": [path, "x"]}},
        {path.partition(":")[2]: path},
        {"dtype": path.replace(":", ".")},
    ):
        changed = copy.deepcopy(structure)
        changed["nodes"][0]["attributes"]["activation"] = stored
        changed["items"] = [{"function": path}]
        with pytest.raises(RayformError):
            load_module(local_store, changed, files)
    for kind in (
        path,
        "torch.utils.data.dataset:Dataset",
        "tests.unit.artifacts.test_hostile_models:COMMANDS",
    ):
        changed = copy.deepcopy(structure)
        changed["nodes"][0]["type"] = kind
        with pytest.raises(RayformError):
            load_module(local_store, changed, files)


@pytest.mark.parametrize(
    "name",
    [n for n in dir(torch.nn.Module) if callable(getattr(torch.nn.Module, n))]
    + [*vars(torch.nn.Module()), "__class__", "__x__"],
)
def test_a_module_keeps_what_belongs_to_pytorch(local_store: LocalArtifactStore, name: str) -> None:
    """No stored attribute replaces what PyTorch calls or keeps in each module."""
    if not _nets:
        _nets.append(structure_of(local_store, Net()))
    structure, files = _nets[0]
    for stored in (
        {"function": "torch:tanh"},
        {"class": "torch.nn.modules.linear:Linear"},
        {"value": {"$item": 0}},
    ):
        changed = copy.deepcopy(structure)
        changed["nodes"][0]["attributes"][name] = stored
        changed["items"] = [{"function": "torch:tanh"}]
        with pytest.raises(RayformError):
            load_module(local_store, changed, files)


_nets: list[tuple[Any, dict[str, bytes]]] = []


def test_modules_load_for_others(local_store: LocalArtifactStore) -> None:
    """A module of the project, with functions and classes of PyTorch, loads from files that another machine wrote."""
    net = Net()
    structure, files = structure_of(local_store, net)
    loaded = load_module(local_store, structure, files)
    assert loaded.activation is torch.tanh
    assert loaded.type == "small"
    assert torch.equal(loaded(torch.ones(1, 2)), net(torch.ones(1, 2)))


_values = st.sampled_from(
    [None, 0, -1, 99, "x", [], {}, {"function": "os:system"}, {"class": "subprocess:Popen"}, {"module": 0},
        {"tensor": "q"},
     {"Size": [-1]}, {"value": {"$module": "os"}}, {"dtype": "torch.load"}, True, "layer", [0, 0],
         "unittest.__main__:X"]
)  # fmt: skip


@pytest.mark.slow
@given(st.data())
@settings(max_examples=15_000 if os.environ.get("RAYFORM_SEARCH") else 200)
def test_no_changed_structure_does_anything(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A structure with some of its parts exchanged gives a module or an error of Rayform."""
    if not _searched:
        store = LocalArtifactStore(LocalStoreConfig(path=str(tmp_path_factory.mktemp("t"))), stack_name="t")
        _searched.append((store, *structure_of(store, Net())))
    store, structure, files = _searched[0]
    changed = copy.deepcopy(structure)
    for _ in range(data.draw(st.integers(1, 2))):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = copy.deepcopy(data.draw(_values))
            break
    try:
        load_module(store, changed, files)
    except RayformError:
        pass


_searched: list[tuple[LocalArtifactStore, Any, dict[str, bytes]]] = []
