"""Values that others wrote: nothing is imported, called, unpickled or written that the reader didn't choose."""

from __future__ import annotations

import collections
import contextlib
import enum
import importlib
import io
import json
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.watching import Watched, watching

from rayform_core.errors import IntegrityError, RayformError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.import_paths import import_path
from rayform_runtime.artifacts.materializers import json_codec
from rayform_runtime.artifacts.materializers.base import Materializer
from rayform_runtime.artifacts.materializers.pickled import CloudpickleMaterializer
from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.trust import UntrustedError
from rayform_runtime.artifacts.values import load_value, save_value

JSON = "rayform_runtime.artifacts.materializers.json_values:JsonMaterializer"
PICKLE = import_path(CloudpickleMaterializer)
OURS = (
    "rayform",
    "tests",
    "numpy",
    "pandas",
    "scipy",
    "encodings",
    "zoneinfo",
    "tzdata",
    "dateutil",
    "pytz",
    "pydantic",
    "blake3",
)
"""What decoding may import: Rayform's own modules, and those of the types that it stores."""


class Color(enum.Enum):
    """An enumeration of the project."""

    RED = 1


@dataclass
class Point:
    """A class of the project."""

    x: int


class Note:
    """A class that only a user's materializer takes."""

    def __init__(self, text: str) -> None:
        self.text = text


class NoteMaterializer(Materializer):
    """Calls the type with what the file holds."""

    ASSOCIATED_TYPES = (Note,)

    def save(self, value: Note, folder: Path) -> None:
        (folder / "note.txt").write_text(value.text)

    def load(self, folder: Path, data_type: Any) -> Any:
        return data_type((folder / "note.txt").read_text())


class UnpicklingMaterializer(Materializer):
    """A user's materializer that says that it unpickles."""

    RUNS_CODE = True

    def save(self, value: Any, folder: Path) -> None:
        (folder / "value").write_bytes(pickle.dumps(value))

    def load(self, folder: Path, data_type: Any) -> Any:
        return pickle.loads((folder / "value").read_bytes())


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("exit 3",)


def stored(store: LocalArtifactStore, files: Mapping[str, bytes], type: str, materializer: str) -> str:
    """Write what others wrote: nothing of it is signed by this machine."""
    return store.commit_files(new_id(), files, type=type, materializer=materializer).uri


def document(store: LocalArtifactStore, text: str | bytes) -> str:
    """Store a JSON value of others."""
    data = text if isinstance(text, bytes) else text.encode()
    return stored(store, {"value.json": data}, "builtins:dict", JSON)


def refused(store: LocalArtifactStore, uri: str, **options: Any) -> Watched:
    """Load the value, which must end with an error of Rayform and without doing anything."""
    with watching() as watched, pytest.raises(RayformError):
        load_value(store, uri, **options)
    assert not watched.acts
    assert not watched.unpickled
    return watched


# -- JSON ---------------------------------------------------------------------------------------------------------

NAMES = [
    "unittest.__main__:X", "this:s", "antigravity:webbrowser", "idlelib.idle:X", "turtledemo.__main__:X",
    "os:system", "subprocess:Popen", "subprocess:run", "builtins:eval", "builtins:exec", "builtins:open",
    "ctypes:CDLL", "pty:spawn", "code:interact", "pip.__main__:X", "pytest.__main__:X", "json.tool:main",
    "numpy.f2py.__main__:X", "numpy.testing:assert_", "pandas.conftest:X", "torch.utils.cpp_extension:load",
    "importlib:import_module", "sklearn.utils._testing:check_output", "multiprocessing.popen_fork:Popen",
    "setuptools._distutils.spawn:spawn", "hypothesis.extra.cli:main", "a" * 300 + ":b", "x.y.z:Q", ":", "", "os",
    "os:path.os.system", "pathlib:os.system", "enum:sys.modules", "__main__:X", "sys:modules",
]  # fmt: skip
FORMS = [
    '{"$enum": [NAME, "Y"]}',
    '{"$flag": [NAME, 1]}',
    '{"$dataclass": [NAME, {}]}',
    '{"$attrs": [NAME, {}]}',
    '{"$pydantic": [NAME, {"dump": {}}]}',
    '{"$pydantic": [{"$type": ["generic", NAME, ["builtins:int"]]}, {"dump": {}}]}',
    '{"$namedtuple": [NAME, ["exit 3"]]}',
    '{"$mapping": [NAME, [], {}]}',
    '{"$type": ["generic", NAME, ["builtins:int"]]}',
    '{"$type": ["union", [NAME, NAME]]}',
]


@pytest.mark.parametrize("form", FORMS)
def test_a_json_value_imports_and_calls_nothing(local_store: LocalArtifactStore, form: str) -> None:
    """Whatever a JSON value names, no module is imported for it and nothing of it is called."""
    for name in NAMES:
        loaded = set(sys.modules)
        uri = document(local_store, form.replace("NAME", json.dumps(name)))
        with watching() as watched:
            try:
                value = load_value(local_store, uri)
            except RayformError:
                pass
            else:  # a class that is loaded already may be a value; nobody calls it
                assert form.startswith('{"$type"'), value
        assert not watched.acts
        new = {module for module in set(sys.modules) - loaded if not module.startswith(OURS)}
        assert not new, name


@pytest.mark.parametrize("name", [name for name in NAMES if ":" in name])
def test_factories_and_modules_are_listed(local_store: LocalArtifactStore, name: str) -> None:
    """A missing key of a stored defaultdict calls only plain types, and a stored module is one of array functions."""
    factory = document(local_store, json.dumps({"$defaultdict": [name, []]}))
    refused(local_store, factory)
    refused(local_store, document(local_store, json.dumps({"$module": name.partition(":")[0]})))
    kept = document(local_store, '{"$defaultdict": ["builtins:list", []]}')
    assert load_value(local_store, kept) == collections.defaultdict(list)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, '{"$list":[' * 50_000, "[" * 990 + "]" * 990 + "x"]
)
def test_nesting_is_an_error_of_rayform(local_store: LocalArtifactStore, text: str) -> None:
    """A value that is nested too deeply, or broken off, isn't a traceback."""
    refused(local_store, document(local_store, text))


def test_values_of_the_project_load_without_trust(local_store: LocalArtifactStore) -> None:
    """A colleague's values of the project's own classes, and of the libraries', need no consent."""
    for value in (Color.RED, Point(1), [Point(2), {Color.RED: 1}], collections.Counter("aab")):
        saved = save_value(local_store, new_id(), value)
        files = local_store.read_files(saved.uri)
        assert files is not None
        uri = stored(local_store, files, saved.manifest.type, saved.manifest.materializer)
        assert load_value(local_store, uri) == value


def test_a_module_of_the_project_is_imported_only_for_its_names(
    local_store: LocalArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script of the project that doesn't define the class isn't run; a module that does is imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "drop_tables.py").write_text("raise SystemExit('dropped')\n")
    (tmp_path / "project_colors.py").write_text("import enum\nclass Paint(enum.Enum):\n    BLUE = 2\n")
    refused(local_store, document(local_store, '{"$enum": ["drop_tables:Paint", "BLUE"]}'))
    assert "drop_tables" not in sys.modules
    loaded = load_value(local_store, document(local_store, '{"$enum": ["project_colors:Paint", "BLUE"]}'))
    assert getattr(loaded, "name", None) == "BLUE"


def test_python_attributes_are_not_set(local_store: LocalArtifactStore) -> None:
    """A stored object can't change its class or its dict."""
    path = import_path(Point)
    for name in ("__class__", "__dict__", "__init__", "__reduce__"):
        text = json.dumps({"$dataclass": [path, {"x": 1, name: {"$type": "builtins:int"}}]})
        refused(local_store, document(local_store, text))


# A search over documents that the codec might read.
_paths = st.sampled_from(
    [*NAMES, import_path(Point), import_path(Color), "builtins:int", "typing:List", "datetime:UTC"]
)
_tags = st.sampled_from(sorted({*json_codec._DECODERS, *json_codec._MEMBER_DECODERS, "$item", "$unknown"}))
_plain = (
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6) | _paths | st.sampled_from(["<f8", "O", "|O8", "U5", "generic", "union", "2026-01-01",
        "dateutil"])
)  # fmt: skip
_documents = st.recursive(
    _plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | _tags, inner, max_size=3)
        | st.builds(lambda tag, content: {tag: content}, _tags, inner | st.lists(inner, max_size=4))
    ),
    max_leaves=12,
)


def _searched(examples: int) -> int:
    import os

    return examples * 100 if os.environ.get("RAYFORM_SEARCH") else examples


@pytest.mark.slow
@given(_documents)
@settings(max_examples=_searched(1500))
def test_no_document_does_anything(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Any JSON document gives a value or an error of Rayform, and imports nothing but what Rayform stores."""
    from rayform_runtime.artifacts.materializers.json_values import JsonMaterializer
    from rayform_runtime.artifacts.trust import trust

    for name in (
        "numpy",
        "pandas",
        "scipy",
        "fractions",
        "decimal",
        "uuid",
        "array",
        "ipaddress",
        "pytz",
        "dateutil.tz",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    data = json.dumps(value).encode()
    before = set(sys.modules)
    with watching() as watched, trust(lambda: False):
        try:
            JsonMaterializer().from_files({"value.json": data}, dict)
        except RayformError:
            pass
        except (
            Exception
        ) as error:  # `load_value` turns these of Rayform's materializers into errors of its own
            assert not isinstance(error, RecursionError)
    assert not watched.acts
    new = {
        module
        for module in set(sys.modules) - before
        if not module.startswith((*OURS, "_", "ipaddress", "re"))
    }
    assert not {module for module in new if module.partition(".")[0] not in ("fractions", "decimal", "uuid",
        "array", "colorsys")}  # fmt: skip


# -- pickles ------------------------------------------------------------------------------------------------------


def pickled(store: LocalArtifactStore, value: object = None) -> str:
    """Store a pickle of others."""
    return stored(
        store, {"value.pickle": pickle.dumps(Bomb() if value is None else value)}, "builtins:int", PICKLE
    )


def test_a_pickle_needs_consent(local_store: LocalArtifactStore) -> None:
    """A pickle of others isn't loaded, whatever names it: the catalog's row, the manifest, or an item of a list."""
    uri = pickled(local_store)
    with pytest.raises(UntrustedError, match="trust_pickle"):
        load_value(local_store, uri)
    refused(local_store, uri)
    refused(local_store, uri, materializer=PICKLE, type="builtins:int")
    refused(local_store, uri, materializer=PICKLE, type="builtins:int", as_type=int)
    items = {
        "value.json": b'[{"$item": 0}]',
        "items.json": json.dumps([{"type": "builtins:int", "materializer": PICKLE}]).encode(),
        "items/0/value.pickle": pickle.dumps(Bomb()),
    }
    refused(local_store, stored(local_store, items, "builtins:list", JSON))
    assert load_value(local_store, pickled(local_store, 5), trusted=True) == 5


def test_own_pickles_load(
    local_store: LocalArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that this machine made loads without consent, and with another home it doesn't."""
    saved = save_value(local_store, new_id(), {1, 2}, materializer=CloudpickleMaterializer)
    assert load_value(local_store, saved.uri) == {1, 2}
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "colleague"))
    refused(local_store, saved.uri)


def test_a_row_cannot_reinterpret_own_values(local_store: LocalArtifactStore, tmp_path: Path) -> None:
    """Files that this machine made, for another materializer or type, aren't trusted as pickles."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "value.pickle").write_bytes(pickle.dumps(Bomb()))
    saved = save_value(local_store, new_id(), folder)
    refused(local_store, saved.uri, materializer=PICKLE, type=saved.manifest.type)
    own = save_value(local_store, new_id(), 5, materializer=CloudpickleMaterializer)
    refused(local_store, own.uri, materializer=PICKLE, type="subprocess:Popen")


def test_changed_manifests_are_not_own(local_store: LocalArtifactStore) -> None:
    """A signature fits one version, type, materializer and content."""
    saved = save_value(local_store, new_id(), 5, materializer=CloudpickleMaterializer)
    path = local_store.root / "versions" / str(saved.manifest.id) / ".rayform-manifest.json"
    path = path if path.exists() else next(path.parent.glob("*manifest*"), next(path.parent.iterdir()))
    document = json.loads(path.read_bytes())
    other = save_value(local_store, new_id(), Note("x"))
    for changes in (
        {"materializer": import_path(UnpicklingMaterializer)},
        {"signature": "0" * 64},
        {"signature": "é"},
    ):
        path.write_text(json.dumps({**document, **changes}))
        refused(local_store, saved.uri)
    path.write_text(json.dumps({**document, "signature": other.manifest.signature}))
    refused(local_store, saved.uri)
    path.write_text(json.dumps(document))
    assert load_value(local_store, saved.uri) == 5


def test_users_materializers_may_ask_too(local_store: LocalArtifactStore) -> None:
    """A user's class with `RUNS_CODE` loads only what is trusted, and so does a subclass of the pickling one."""
    path = import_path(UnpicklingMaterializer)
    refused(local_store, stored(local_store, {"value": pickle.dumps(Bomb())}, "builtins:int", path))
    saved = save_value(local_store, new_id(), {3}, materializer=UnpicklingMaterializer)
    assert load_value(local_store, saved.uri) == {3}


@pytest.mark.parametrize(
    "kind",
    ["subprocess:Popen", "os:system", "builtins:eval", "builtins:open", "pathlib:Path", "builtins:int"],
)
def test_a_users_materializer_gets_only_its_types(local_store: LocalArtifactStore, kind: str) -> None:
    """A row can't have a user's materializer call any class with what the file holds."""
    uri = stored(local_store, {"note.txt": b"touch /tmp/never"}, kind, import_path(NoteMaterializer))
    refused(local_store, uri)
    plain = stored(local_store, {"note.txt": b"hello"}, import_path(Note), import_path(NoteMaterializer))
    loaded = load_value(local_store, plain)
    assert isinstance(loaded, Note)


@pytest.mark.parametrize("name", [*NAMES, import_path(Point), "builtins:dict"])
def test_only_materializers_materialize(local_store: LocalArtifactStore, name: str) -> None:
    """A row that names anything else as its materializer isn't loaded, and nothing is imported for it."""
    uri = document(local_store, "1")
    refused(local_store, uri, materializer=name, type="builtins:int")


# -- files --------------------------------------------------------------------------------------------------------


def test_zip_bombs_are_refused(local_store: LocalArtifactStore, tmp_path: Path) -> None:
    """A small file that would unpack to gigabytes isn't unpacked."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.npy", "w",
        force_zip64=True) as file:  # fmt: skip
        for _ in range(1100):
            file.write(bytes(1 << 20))
    files = {"matrix.npz": packed.getvalue(), "matrix.json": b'{"format": "csr", "index": "int32"}'}
    assert len(packed.getvalue()) < 2 << 20
    uri = stored(local_store, files, "scipy.sparse._csr:csr_matrix",
        "rayform_runtime.artifacts.materializers.scipy_sparse:SparseMaterializer")  # fmt: skip
    refused(local_store, uri)


OWN_FILES = {
    "numpy_arrays:NumpyMaterializer": ["array.npy", "array.json", "kind.json"],
    "pandas_frames:PandasMaterializer": ["frame.json", "frame.parquet", "lists.parquet"],
    "polars_frames:PolarsMaterializer": ["frame.arrow", "series.json"],
    "arrow_tables:ArrowMaterializer": ["table.arrow"],
    "pil_images:PILMaterializer": ["image.png", "image.raw", "image.json"],
    "scipy_sparse:SparseMaterializer": ["matrix.npz", "matrix.json"],
    "sklearn_estimators:SklearnMaterializer": ["estimator.skops"],
    "torch_modules:TorchModuleMaterializer": ["module.json", "tensors.safetensors", "tensors.pt"],
    "torch_modules:TorchTensorMaterializer": ["tensor.json", "tensors.safetensors", "tensors.pt"],
    "matplotlib_figures:FigureMaterializer": ["figure.png", "figure.svg"],
    "paths:PathMaterializer": ["path.json", "data"],
    "json_values:JsonMaterializer": ["value.json", "items.json"],
}
CONTENTS = [
    b"",
    b"{}",
    b"null",
    b"[" * 100_000,
    pickle.dumps(Bomb()),
    b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    + b" " * 50
    + b"\n"
    + pickle.dumps([Bomb()]),
    b'{"kind": "file", "name": "../../x", "executable": ["../../../etc"], "folders": ["../../../tmp/never"]}',
    b'{"mode": "RGB", "size": [1000000, 1000000], "png": false}',
]


@pytest.mark.slow
@pytest.mark.parametrize("materializer", OWN_FILES)
def test_broken_files_are_errors_of_rayform(local_store: LocalArtifactStore, materializer: str) -> None:
    """Each materializer of Rayform's answers any content of its files with an error of Rayform."""
    path = f"rayform_runtime.artifacts.materializers.{materializer}"
    for content in CONTENTS:
        uri = stored(local_store, dict.fromkeys(OWN_FILES[materializer], content), "builtins:object", path)
        with watching() as watched:
            try:
                load_value(local_store, uri)
            except RayformError:
                pass
        assert not watched.unpickled, (materializer, content[:40])
        assert not watched.acts, (materializer, content[:40])


# -- manifests ----------------------------------------------------------------------------------------------------

_paths_of_files = st.sampled_from(
    ["a", "../a", "/etc/passwd", "a/../../b", "a\\b", "", ".", "a\0b", "a" * 2000, "x/y", "é"]
)


@pytest.mark.slow
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "schema": st.integers(-1, 3) | _plain,
            "id": st.uuids().map(str) | _plain,
            "type": _plain,
            "materializer": _plain,
            "digest": st.text(max_size=3) | st.just("0" * 64),
            "size": st.integers() | _plain,
            "files": st.lists(
                st.tuples(_paths_of_files, st.integers(0, 9) | _plain, st.just("0" * 64) | _plain)
            )
            | _plain,
            "metadata": _documents,
            "visualizations": st.dictionaries(st.text(max_size=3), _paths_of_files) | _plain,
            "folder": _paths_of_files | _plain,
            "embedded": st.dictionaries(_paths_of_files, st.text(max_size=5) | st.lists(st.text(max_size=5)))
            | _plain,
            "signature": _plain,
        },
    )
    | _documents
)
@settings(max_examples=_searched(800))
def test_no_manifest_leads_out_of_the_store(value: object) -> None:
    """Any manifest is refused with an error of Rayform, or names only files inside of its artifact."""
    from rayform_runtime.artifacts.stores.keys import is_safe_key
    from rayform_runtime.artifacts.stores.manifest import decode_manifest

    try:
        manifest = decode_manifest(json.dumps(value).encode(), uri="file:///x")
    except IntegrityError:
        return
    names = (
        [file.path for file in manifest.files]
        + list(manifest.visualizations.values())
        + list(manifest.embedded)
    )
    assert all(map(is_safe_key, names))


@pytest.mark.slow
@given(st.data())
@settings(max_examples=_searched(300))
def test_no_changed_manifest_is_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A real manifest with any one byte sequence replaced gives the value or an error of Rayform."""
    store = _shared_store(tmp_path_factory)
    saved = save_value(store, new_id(), {"a": [1, 2.5, Color.RED]})
    folder = store.root / "versions" / str(saved.manifest.id)
    path = next(p for p in folder.iterdir() if "manifest" in p.name)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    new = data.draw(
        st.binary(max_size=8) | st.sampled_from([b"../", b'"', b"$enum", b"__main__", b"null", b"[["])
    )
    path.write_bytes(content[:start] + new + content[start + data.draw(st.integers(0, 8)) :])
    with watching() as watched:
        try:
            load_value(store, saved.uri)
        except RayformError:
            pass
    assert not watched.unpickled


_stores: list[LocalArtifactStore] = []


def _shared_store(factory: pytest.TempPathFactory) -> LocalArtifactStore:
    if not _stores:
        _stores.append(
            LocalArtifactStore(LocalStoreConfig(path=str(factory.mktemp("fuzz"))), stack_name="fuzz")
        )
    return _stores[0]
