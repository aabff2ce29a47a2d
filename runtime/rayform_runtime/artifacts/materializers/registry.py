"""Which materializer takes a type.

Built-in materializers are looked up by the import paths of a type and its bases, so that a look-up imports no
library: a value of a NumPy type can only come from a process that has imported NumPy.
"""

from __future__ import annotations

import dataclasses

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeGoneError, import_path, resolve
from rayform_runtime.artifacts.materializers import standard_types
from rayform_runtime.artifacts.materializers.attributes import is_attrs, is_made_plainly
from rayform_runtime.artifacts.materializers.base import (
    Materializer,
    register,
    unregister,
    user_materializer,
    user_types,
)
from rayform_runtime.artifacts.trust import is_of_projects_module, is_trusted, resolve_stored, untrusted

__all__ = [
    "REGISTERED",
    "UnsupportedTypeError",
    "check_loadable",
    "find",
    "is_built_in",
    "is_rayforms",
    "materializer_for",
    "register",
    "resolve_materializer",
    "resolve_stored_materializer",
    "resolve_stored_type",
    "takes_a_subclass_of",
    "unregister",
    "unsupported",
]

REGISTERED = "registered"
"""Stands in the catalog in place of a materializer, for data that a user put into the store by other means; see
`registered_data`."""

_PACKAGE = "rayform_runtime.artifacts.materializers."
_JSON = _PACKAGE + "json_values:JsonMaterializer"
_TEXT = _PACKAGE + "text:"

# Types that must match exactly: a user-defined subclass of `dict` is another type and would come back as a plain
# dict.
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
            "sklearn.utils._bunch:Bunch", "scipy.optimize._optimize:OptimizeResult",
            "pandas:Timestamp", "pandas:Timedelta", "pandas:Period", "pandas:Interval",
            "pandas.api.typing:NaTType", "pandas.api.typing:NAType",
            "pandas._libs.tslibs.period:Period", "pandas._libs.interval:Interval",
            "pandas._libs.tslibs.nattype:NaTType", "pandas._libs.missing:NAType",
            *standard_types.TYPES,
        ],
        _JSON,
    ),
    "builtins:str": _TEXT + "StrMaterializer",
    "builtins:bytes": _TEXT + "BytesMaterializer",
}  # fmt: skip
# Types whose materializers also take their subclasses.
_FAMILIES: dict[str, str] = {
    "enum:Enum": _JSON,
    "pydantic.main:BaseModel": _JSON,
    "rayform_runtime.artifacts.types:VisualizationString": _TEXT + "VisualizationStringMaterializer",
    "pathlib:PosixPath": _PACKAGE + "paths:PathMaterializer",
    "pathlib._local:PosixPath": _PACKAGE + "paths:PathMaterializer",
    "pathlib:Path": _PACKAGE + "paths:PathMaterializer",
    "pathlib._local:Path": _PACKAGE + "paths:PathMaterializer",
    "numpy:ndarray": _PACKAGE + "numpy_arrays:NumpyMaterializer",
    "numpy:dtype": _JSON,
    "numpy:generic": _PACKAGE + "numpy_arrays:NumpyMaterializer",
    "pandas:DataFrame": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas:Series": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas:Index": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.api.extensions:ExtensionArray": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.core.indexes.base:Index": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.core.arrays.base:ExtensionArray": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.core.frame:DataFrame": _PACKAGE + "pandas_frames:PandasMaterializer",
    "pandas.core.series:Series": _PACKAGE + "pandas_frames:PandasMaterializer",
    "scipy.sparse._matrix:spmatrix": _PACKAGE + "scipy_sparse:SparseMaterializer",
    "scipy.sparse._base:sparray": _PACKAGE + "scipy_sparse:SparseMaterializer",
    "scipy.sparse._base:_spbase": _PACKAGE + "scipy_sparse:SparseMaterializer",
    "polars.dataframe.frame:DataFrame": _PACKAGE + "polars_frames:PolarsMaterializer",
    "polars.series.series:Series": _PACKAGE + "polars_frames:PolarsMaterializer",
    "pyarrow.lib:Table": _PACKAGE + "arrow_tables:ArrowMaterializer",
    "pyarrow.lib:RecordBatch": _PACKAGE + "arrow_tables:ArrowMaterializer",
    "sklearn.base:BaseEstimator": _PACKAGE + "sklearn_estimators:SklearnMaterializer",
    # Users annotate these when they mean any estimator of a kind.
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


_OWN = frozenset((*_EXACT.values(), *_FAMILIES.values()))
"""Rayform's own materializers, none of which runs code that files hold."""


class UnsupportedTypeError(UsageError):
    """No materializer takes a type; the hint shows the lines of code that would fix it."""


def find(kind: type) -> type[Materializer] | None:
    """Return the materializer that takes values of this type, or `None`.

    Nearer bases win over farther ones, and at each base a user-defined materializer over a built-in one.
    """
    exact = _EXACT.get(import_path(kind))
    if exact is not None and user_materializer(kind) is None:
        return resolve_materializer(exact)
    for base in kind.__mro__:
        materializer = user_materializer(base)
        if materializer is not None:
            return materializer
        path = _FAMILIES.get(import_path(base))
        if path is not None:
            return resolve_materializer(path)
    if dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return resolve_materializer(_JSON)
    if is_attrs(kind) and is_made_plainly(kind):
        return resolve_materializer(_JSON)
    return None


def is_built_in(kind: type) -> bool:
    """Whether there is a built-in materializer for exactly this type."""
    path = import_path(kind)
    return path in _EXACT or path in _FAMILIES


def takes_a_subclass_of(kind: type) -> bool:
    """Whether a user-defined materializer takes a subclass of `kind`, which a step annotated with `kind` may return."""
    return any(issubclass(user_type, kind) for user_type in user_types())


def materializer_for(kind: type, *, step: str | None = None, output: str | None = None) -> type[Materializer]:
    """Return the materializer that takes values of this type.

    Args:
        kind: the type.
        step, output: the step and output that the value belongs to, for the error.

    Raises:
        UnsupportedTypeError: there is none; names step, output and type, and the lines of code that would fix it.
    """
    materializer = find(kind)
    if materializer is None:
        raise unsupported(kind, step=step, output=output)
    return materializer


def check_loadable(kind: type, materializer: type[Materializer], where: str = "") -> None:
    """Refuse a type that no process would find again.

    Args:
        kind: the type of a value that is to be saved.
        materializer: what saves it.
        where: the value's place in a larger one.

    Raises:
        UsageError: the materializer needs the type to load the value, and its import path leads nowhere.
    """
    if not materializer.NEEDS_DATA_TYPE or kind.__module__ == "builtins":
        return
    path = import_path(kind)
    try:
        resolve(path)
    except (TypeGoneError, UsageError):
        raise UsageError(
            f"A value of type '{path}' can't be stored{f' (at {where})' if where else ''}.",
            why="The type can't be imported by that name, so no other process could load the value.",
            hint="Define the class at the top level of a module.",
        ) from None


def resolve_materializer(path: str) -> type[Materializer]:
    """Return the materializer that an import path names.

    Raises:
        UsageError: the path names something else.
        TypeGoneError: the path can't be imported.
    """
    return _checked(path, resolve(path))


def resolve_stored_materializer(path: str) -> type[Materializer]:
    """Return the materializer that a catalog's row, a manifest or a stored value names.

    Raises:
        UsageError: the path names something else.
        TypeGoneError: the path can't be imported.
        UntrustedError: the value isn't trusted, and may not name it; or the materializer runs code that files hold.
    """
    if path in _OWN:
        return _checked(path, resolve(path))
    materializer = _checked(path, resolve_stored(path))
    if materializer.RUNS_CODE and not is_trusted():
        raise untrusted(
            f"A value stored by '{path[:200]}' isn't loaded.",
            "Loading it runs any code that its files hold, and this machine didn't make it.",
        )
    return materializer


def resolve_stored_type(path: str, materializer: type[Materializer]) -> object:
    """Return the type of a stored value, which the materializer gets; a user's may call it with what the files hold.

    Raises:
        TypeGoneError: the path can't be imported.
        UntrustedError: the value isn't trusted, and the materializer doesn't take values of this type.
    """
    kind = resolve_stored(path)
    if is_rayforms(materializer) or is_trusted():
        return kind
    takes = [
        *materializer.ASSOCIATED_TYPES,
        *(k for k in user_types() if user_materializer(k) is materializer),
    ]
    if isinstance(kind, type) and (issubclass(kind, tuple(takes)) if takes else is_of_projects_module(kind)):
        return kind
    raise untrusted(
        f"A stored value names the type '{path[:200]}', which isn't one of '{materializer.__name__}'.",
        "Its materializer may call the type, and this machine didn't make the value.",
    )


def is_rayforms(materializer: type[Materializer]) -> bool:
    """Whether a materializer is one of Rayform's, and not a user's."""
    return materializer.__module__.startswith(_PACKAGE)


def _checked(path: str, materializer: object) -> type[Materializer]:
    if not (isinstance(materializer, type) and issubclass(materializer, Materializer)):
        raise UsageError(
            f"'{path[:200]}' is no materializer.",
            why="It isn't a subclass of Materializer.",
            hint="Name a class that saves and loads values.",
        )
    return materializer


def unsupported(
    kind: type, *, step: str | None = None, output: str | None = None, inside: str = ""
) -> UnsupportedTypeError:
    """Build the error for a type that no materializer takes; `inside` says where in the value it stands."""
    whose = "A value"
    if output is not None:
        whose = f"Output '{output}'" + (f" of step '{step}'" if step else "")
    elif step is not None:
        whose = f"An output of step '{step}'"
    where = f" (at {inside})" if inside else ""
    name = kind.__name__
    return UnsupportedTypeError(
        f"{whose} has type '{import_path(kind)}'{where}, which no materializer takes.",
        why="Rayform stores values as plain files. It pickles a value only if you choose that.",
        hint=(
            "Either write a materializer for it, in a module that the step imports:\n\n"
            "    from rayform.materializers import Materializer\n\n"
            f"    class {name}Materializer(Materializer):\n"
            f"        ASSOCIATED_TYPES = ({name},)\n\n"
            "        def save(self, value, folder):\n"
            '            (folder / "value.txt").write_text(...)\n\n'
            "        def load(self, folder, data_type):\n"
            '            return data_type((folder / "value.txt").read_text())\n\n'
            "or choose to pickle it (loading the value then runs any code that the file holds):\n\n"
            "    from rayform.materializers import CloudpickleMaterializer\n\n"
            f"    Annotated[{name}, ArtifactConfig(materializer=CloudpickleMaterializer)]"
        ),
    )
