"""Which materializer takes a type.

Built-in ones are found by the names of a type and its bases, so that no library is imported for a look-up: a
value of NumPy's can only come from a process that has imported NumPy.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path, resolve
from rayform_runtime.artifacts.materializers.base import Materializer

__all__ = [
    "UnsupportedTypeError",
    "find",
    "materializer_for",
    "register",
    "resolve_materializer",
    "unregister",
]

_PACKAGE = "rayform_runtime.artifacts.materializers."
_JSON = _PACKAGE + "json_values:JsonMaterializer"
_TEXT = _PACKAGE + "text:"

# Types that must match exactly: a person's own subclass of `dict` is another type, which would come back as
# a plain dict.
_EXACT: dict[str, str] = {
    **dict.fromkeys(
        [
            "builtins:NoneType", "builtins:bool", "builtins:int", "builtins:float", "builtins:complex",
            "builtins:list", "builtins:tuple", "builtins:dict", "builtins:set", "builtins:frozenset",
            "builtins:range", "builtins:bytearray",
            "datetime:datetime", "datetime:date", "datetime:time", "datetime:timedelta",
            "uuid:UUID", "decimal:Decimal", "fractions:Fraction", "pathlib:PurePosixPath",
            "collections:OrderedDict", "collections:Counter", "collections:deque", "collections:defaultdict",
            "pandas._libs.tslibs.timestamps:Timestamp", "pandas._libs.tslibs.timedeltas:Timedelta",
            "pandas:Timestamp", "pandas:Timedelta",
        ],
        _JSON,
    ),
    "builtins:str": _TEXT + "StrMaterializer",
    "builtins:bytes": _TEXT + "BytesMaterializer",
}  # fmt: skip
# Types that also stand for their subclasses.
_FAMILIES: dict[str, str] = {
    "enum:Enum": _JSON,
    "pydantic.main:BaseModel": _JSON,
    "rayform_runtime.artifacts.types:VisualizationString": _TEXT + "VisualizationStringMaterializer",
    "pathlib:PosixPath": _PACKAGE + "paths:PathMaterializer",
    "pathlib._local:PosixPath": _PACKAGE + "paths:PathMaterializer",
    "pathlib:Path": _PACKAGE + "paths:PathMaterializer",
    "pathlib._local:Path": _PACKAGE + "paths:PathMaterializer",
    "numpy:ndarray": _PACKAGE + "numpy_arrays:NumpyMaterializer",
    "numpy:generic": _PACKAGE + "numpy_arrays:NumpyMaterializer",
    "pandas:DataFrame": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas:Series": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.core.frame:DataFrame": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.core.series:Series": _PACKAGE + "pandas_frames:PandasMaterializer",
    "polars.dataframe.frame:DataFrame": _PACKAGE + "polars_frames:PolarsMaterializer",
    "polars.series.series:Series": _PACKAGE + "polars_frames:PolarsMaterializer",
    "pyarrow.lib:Table": _PACKAGE + "arrow_tables:ArrowMaterializer",
    "pyarrow.lib:RecordBatch": _PACKAGE + "arrow_tables:ArrowMaterializer",
    "sklearn.base:BaseEstimator": _PACKAGE + "sklearn_estimators:SklearnMaterializer",
    # What people annotate when they mean any estimator of a kind.
    **dict.fromkeys(
        [
            "sklearn.base:ClassifierMixin",
            "sklearn.base:RegressorMixin",
            "sklearn.base:TransformerMixin",
            "sklearn.base:ClusterMixin",
            "sklearn.base:OutlierMixin",
        ],
        _PACKAGE + "sklearn_estimators:SklearnMaterializer",
    ),
    "torch.nn.modules.module:Module": _PACKAGE + "torch_modules:TorchModuleMaterializer",
    "torch:Tensor": _PACKAGE + "torch_modules:TorchTensorMaterializer",
    "torch._tensor:Tensor": _PACKAGE + "torch_modules:TorchTensorMaterializer",
    "PIL.Image:Image": _PACKAGE + "pil_images:PILMaterializer",
    "matplotlib.figure:Figure": _PACKAGE + "matplotlib_figures:FigureMaterializer",
}

_own: dict[type, type[Materializer]] = {}
_lock = threading.Lock()


class UnsupportedTypeError(UsageError):
    """No materializer takes a type; the error's hint holds the lines that would fix it."""


def register(kind: type, materializer: type[Materializer]) -> None:
    """Let `materializer` take `kind` and its subclasses, before any built-in one.

    Defining a `Materializer` with `ASSOCIATED_TYPES` calls this; call it to give a type to a materializer that
    is there already, for instance `register(Sketch, CloudpickleMaterializer)`.

    Raises:
        UsageError: `kind` isn't a type, or `materializer` isn't a materializer.
    """
    if not isinstance(kind, type) or kind is object:
        raise UsageError(
            f"{materializer.__name__} can't be associated with {kind!r}.",
            why="ASSOCIATED_TYPES holds the classes whose values it takes, each by itself.",
            hint="Name the classes; `object` would take every value there is.",
        )
    if not (isinstance(materializer, type) and issubclass(materializer, Materializer)):
        raise UsageError(f"{materializer!r} is no subclass of Materializer.")
    with _lock:
        _own[kind] = materializer


def unregister(kind: type) -> None:
    """Forget the person's own materializer of `kind`; none is no error."""
    with _lock:
        _own.pop(kind, None)


def find(kind: type) -> type[Materializer] | None:
    """Return the materializer that takes values of this type, or `None`.

    Nearer bases win over farther ones, and at each base a person's own over a built-in one.
    """
    exact = import_path(kind)
    if kind not in _own and exact in _EXACT:
        return _load(_EXACT[exact])
    for base in kind.__mro__:
        if base in _own:
            return _own[base]
        path = _FAMILIES.get(import_path(base))
        if path is not None:
            return _load(path)
    if dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return _load(_JSON)
    return None


def takes_a_subclass_of(kind: type) -> bool:
    """Whether a materializer takes some subclass of `kind`, which a step annotated with `kind` may return."""
    return any(issubclass(own, kind) for own in list(_own))


def materializer_for(kind: type, *, step: str | None = None, output: str | None = None) -> type[Materializer]:
    """Return the materializer that takes values of this type.

    Args:
        kind: the type.
        step, output: whose value it is, for the error.

    Raises:
        UnsupportedTypeError: there is none; names step, output and type, and the lines that would fix it.
    """
    found = find(kind)
    if found is None:
        raise unsupported(kind, step=step, output=output)
    return found


def resolve_materializer(path: str) -> type[Materializer]:
    """Return the materializer that an import path names.

    Raises:
        UsageError: it names something else.
        TypeGoneError: it can't be imported.
    """
    found = resolve(path)
    if not (isinstance(found, type) and issubclass(found, Materializer)):
        raise UsageError(
            f"'{path}' is no materializer.",
            why="It isn't a subclass of Materializer.",
            hint="Name a class that saves and loads values.",
        )
    return found


def unsupported(
    kind: type, *, step: str | None = None, output: str | None = None, inside: str = ""
) -> UnsupportedTypeError:
    """Build the error for a type that no materializer takes; `inside` says where in the value it was met."""
    whose = "A value"
    if output is not None:
        whose = f"Output '{output}'" + (f" of step '{step}'" if step else "")
    elif step is not None:
        whose = f"An output of step '{step}'"
    where = f" (at {inside})" if inside else ""
    name = kind.__name__
    return UnsupportedTypeError(
        f"{whose} has type '{import_path(kind)}'{where}, which no materializer takes.",
        why="Rayform stores values as plain files and never pickles one unless told to.",
        hint=(
            "Either write its materializer, in a module that the step imports:\n\n"
            "    from rayform.materializers import Materializer\n\n"
            f"    class {name}Materializer(Materializer):\n"
            f"        ASSOCIATED_TYPES = ({name},)\n\n"
            "        def save(self, value, folder):\n"
            '            (folder / "value.txt").write_text(...)\n\n'
            "        def load(self, folder, data_type):\n"
            '            return data_type((folder / "value.txt").read_text())\n\n'
            "or choose to pickle it (loading then runs whatever code the file holds):\n\n"
            "    from rayform.materializers import CloudpickleMaterializer\n\n"
            f"    Annotated[{name}, ArtifactConfig(materializer=CloudpickleMaterializer)]"
        ),
    )


def _load(path: str) -> type[Materializer]:
    found: Any = resolve(path)
    return found  # type: ignore[no-any-return]
