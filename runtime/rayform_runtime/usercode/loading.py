"""Loads a user's functions and classes from references to them, in any process."""

from __future__ import annotations

import base64
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from rayform_core.errors import NotFoundError
from rayform_runtime.usercode.main_module import MAIN_NAMES, add_to_cells, enter_cells, load_main
from rayform_runtime.usercode.program import current_program
from rayform_runtime.usercode.scripts import ends_quietly, import_without_running

if TYPE_CHECKING:
    from rayform_runtime.spec import SourceRef
    from rayform_runtime.usercode.code_ref import CodeRef

__all__ = ["add_code_root", "load_function", "load_source"]

_types: set[str] = set()
"""Classes of a notebook's cells that are part of `__main__`, by their pickle."""
_mains: set[str] = set()
"""Files of scripts that `load_main` has made `__main__` of this process."""
_roots: set[tuple[str, tuple[str, ...]]] = set()
"""Arguments of `add_code_root` that are on the import path."""


def add_code_root(code_root: str | None, import_paths: Sequence[str] = (".",)) -> None:
    """Put the project's folders first on the import path, in the order that they had where the pipeline was traced.

    Args:
        code_root: the project's folder on this machine.
        import_paths: folders below it, relative to it; see `PipelineSpec.import_paths`.
    """
    if not code_root or (code_root, tuple(import_paths)) in _roots:
        return
    _roots.add((code_root, tuple(import_paths)))
    folders = [os.path.normpath(os.path.join(code_root, path)) for path in import_paths or (".",)]  # noqa: PTH118
    for folder in reversed(folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def _load_file(name: str, file: str) -> ModuleType:
    """Load a module that is on no import path from its file, under its own name."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    # A module of this kind may have any suffix, or none.
    loader = SourceFileLoader(name, file)
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with ends_quietly(module):
            loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_source(ref: SourceRef | CodeRef) -> Any:
    """Return the object that `ref` names.

    Raises:
        NotFoundError: the module has no such name.
        ImportError: the module can't be found. Other errors of its top level pass through.
    """
    if ref.pickled is not None:
        return _unpickle(ref)
    if ref.module in MAIN_NAMES and ref.file is not None:
        module = sys.modules.get("__main__")
        if module is None or ref.file not in _mains or getattr(module, "__file__", None) != ref.file:
            if current_program().module is None:
                add_code_root(str(Path(ref.file).parent))
            module = load_main(ref.file)
            _mains.add(ref.file)
    else:
        module = sys.modules.get(ref.module)
        if module is None:
            module = _import(ref)
    target: object = module
    for part in ref.qualname.split("."):
        try:
            target = getattr(target, part)
        except AttributeError as error:
            raise NotFoundError(
                "name",
                ref.qualname,
                within=f"in module '{ref.module}'",
                known=[n for n in vars(module) if not n.startswith("_")],
                hint="Define it at the top level of its module, under the name that it had at tracing.",
            ) from error
    return target


def _unpickle(ref: SourceRef | CodeRef) -> Any:
    """Return what a pickle holds; of a notebook's cell, make it part of `__main__`."""
    import pickle

    assert ref.pickled is not None
    program = current_program()
    if program.file is not None:
        if ref.module in MAIN_NAMES:
            load_main(program.file)  # the pickle names what the script defines
    elif ref.module in MAIN_NAMES:
        enter_cells()
        for one in program.types:
            if one.pickled is not None and one.pickled not in _types:
                _types.add(one.pickled)
                add_to_cells(pickle.loads(base64.b64decode(one.pickled)))  # noqa: S301 - the user's own
    # Each time, since a function brings its global variables along, and may change them.
    target = pickle.loads(base64.b64decode(ref.pickled))  # noqa: S301 - the user's own code
    if program.file is None and ref.module in MAIN_NAMES:
        add_to_cells(target)
    return target


def _import(ref: SourceRef | CodeRef) -> ModuleType:
    try:
        return import_without_running(ref.module)
    except ModuleNotFoundError as error:
        # The module was loaded from a file outside of the import path.
        if error.name != ref.module or ref.file is None or not Path(ref.file).is_file():
            raise
        add_code_root(str(Path(ref.file).parent))
        return _load_file(ref.module, ref.file)


def load_function(ref: SourceRef | CodeRef) -> Callable[..., Any]:
    """Return the plain function behind `ref`: for a step or pipeline object, the function that it wraps."""
    target = load_source(ref)
    return cast("Callable[..., Any]", getattr(target, "entrypoint", target))
