"""Which of the project's code a step asks for by computed names while it runs: what no static reading can tell.

A module that is imported by a name from a variable, the class of an input, a plugin that a library loads by its
path: all come by `importlib.import_module`, by a call of `__import__` (as `pickle` makes them), by a loader or `runpy`
that is given a file, or by an import path in a stored value. All but the last are wrapped once per process. Outside of
`note_loaded_code` the wrappers only pass the call on.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import runpy
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

from rayform_runtime.artifacts import import_paths
from rayform_runtime.usercode.project_modules import is_project_file

__all__ = ["note_loaded_code", "places_of"]

_noted: set[str] | None = None
"""Modules, types as `module:name` and paths of files that were asked for; `None` while nothing is noted."""
_is_installed = False


@contextlib.contextmanager
def note_loaded_code() -> Iterator[set[str]]:
    """Collect the modules and types that are asked for by computed names in this context, in any thread.

    Yields:
        the set into which the names come: `module`, `module:name` or the absolute path of a file.
    """
    global _noted
    _install()
    outer = _noted
    _noted = import_paths.resolved = set()
    try:
        yield _noted
    finally:
        _noted = import_paths.resolved = outer


def places_of(names: set[str], code_root: str | None) -> tuple[str, ...]:
    """Return the places of those names that are the project's: `FILE`, or `FILE:NAME` for a type.

    Args:
        names: what `note_loaded_code` collected.
        code_root: the project's folder; files below it are relative to it.
    """
    places = set()
    for name in names:
        module, colon, type_name = name.partition(":")
        file = getattr(sys.modules.get(module), "__file__", None)
        if os.path.isabs(name):  # noqa: PTH117
            file, colon, type_name = name, "", ""
        if file and is_project_file(path := Path(file)):
            is_below = code_root is not None and path.is_relative_to(code_root)
            place = path.relative_to(code_root or "").as_posix() if is_below else str(path)
            places.add(f"{place}{colon}{type_name}")
    return tuple(sorted(places))


def _install() -> None:
    global _is_installed
    if _is_installed:
        return
    _is_installed = True
    import_, import_module = builtins.__import__, importlib.import_module

    def noting_import(name, globals=None, locals=None, fromlist=(), level=0):  # type: ignore[no-untyped-def]
        # An import statement passes its module's globals, and a tuple or nothing as the list of names. The reading of
        # the step's code has followed it.
        if _noted is not None and (globals is None or type(fromlist) is list):
            _noted.add(name)
        return import_(name, globals, locals, fromlist, level)

    def noting_import_module(name, package=None):  # type: ignore[no-untyped-def]
        module = import_module(name, package)
        if _noted is not None and not sys._getframe(1).f_globals["__name__"].startswith("rayform_runtime."):
            _noted.add(module.__name__)
        return module

    get_code, run_path = SourceFileLoader.get_code, runpy.run_path

    def noting_get_code(self, fullname):  # type: ignore[no-untyped-def]
        # A program that runs a file as a module by itself; an import statement comes from `importlib._bootstrap`.
        frame = sys._getframe(1)
        if frame.f_globals["__name__"] == "importlib._bootstrap_external" and frame.f_back is not None:
            frame = frame.f_back
        if _noted is not None and not frame.f_globals["__name__"].startswith("importlib."):
            _noted.add(os.path.abspath(self.path))  # noqa: PTH100
        return get_code(self, fullname)

    def noting_run_path(path_name, *args, **kwargs):  # type: ignore[no-untyped-def]
        if _noted is not None:
            _noted.add(os.path.abspath(os.fsdecode(path_name)))  # noqa: PTH100
        return run_path(path_name, *args, **kwargs)

    builtins.__import__ = noting_import
    SourceFileLoader.get_code = noting_get_code  # type: ignore[method-assign]
    runpy.run_path = noting_run_path
    importlib.import_module = noting_import_module
