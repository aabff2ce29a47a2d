"""Which of the project's modules a step asks for while it runs: what no static reading of its code can tell.

A module that is imported by a computed name, the module of an input's class, a plugin that a library loads by its path:
all come by `__import__` or `importlib.import_module`. Both are wrapped once per process. Outside of
`note_loaded_modules` the wrappers only pass the call on.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from rayform_runtime.usercode.project_modules import is_project_file

__all__ = ["loaded_files", "note_loaded_modules"]

_asked: set[str] | None = None
"""Names of the modules that were asked for since the recording began; `None` while nothing is recorded."""
_is_installed = False


@contextlib.contextmanager
def note_loaded_modules() -> Iterator[set[str]]:
    """Collect the names of all modules that are asked for in this context, in any thread.

    Yields:
        the set that the names come into.
    """
    global _asked
    _install()
    before, _asked = _asked, set()
    try:
        yield _asked
    finally:
        _asked = before


def loaded_files(names: set[str], code_root: str | None) -> tuple[str, ...]:
    """Return the files of those modules that are the project's, relative to its root where they lie below it."""
    files = set()
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and is_project_file(path := Path(file)):
            below = code_root is not None and path.is_relative_to(code_root)
            files.add(path.relative_to(code_root).as_posix() if below and code_root else str(path))
    return tuple(sorted(files))


def _install() -> None:
    global _is_installed
    if _is_installed:
        return
    _is_installed = True
    import_, import_module = builtins.__import__, importlib.import_module

    def noting_import(name, globals=None, locals=None, fromlist=(), level=0):  # type: ignore[no-untyped-def]
        module = import_(name, globals, locals, fromlist, level)
        asked = _asked
        if asked is not None:
            if not fromlist:
                asked.add(name if level == 0 else module.__name__)
            else:
                asked.add(module.__name__)
                asked.update(f"{module.__name__}.{item}" for item in fromlist)
        return module

    def noting_import_module(name, package=None):  # type: ignore[no-untyped-def]
        module = import_module(name, package)
        if _asked is not None:
            _asked.add(module.__name__)
        return module

    builtins.__import__ = noting_import
    importlib.import_module = noting_import_module
