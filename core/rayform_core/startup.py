"""Keeps start-up short."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

__all__ = ["without_pydantic_plugins"]

_VARIABLE = "PYDANTIC_DISABLE_PLUGINS"
_METADATA = "importlib.metadata"


@contextlib.contextmanager
def without_pydantic_plugins() -> Iterator[None]:
    """Stop pydantic from looking for plugins inside the block, where Rayform's own models are imported.

    To find plugins, pydantic reads the metadata of every installed package, which takes a third of its own import.
    Rayform's models need no plugins. Models of user code, made later, get theirs as usual, because pydantic looks
    again once it may. Nor does pydantic then need `importlib.metadata`, which takes longer than the smaller half of
    Rayform's modules, with the parsers of e-mail and zip files: it is loaded when something first asks it.
    """
    if _METADATA not in sys.modules:
        later = _MetadataLater(_METADATA)
        sys.modules[_METADATA] = later
        setattr(importlib, "metadata", later)  # noqa: B010  (the type checkers know no such attribute yet)
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = "__all__"
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)


class _MetadataLater(types.ModuleType):
    """Stands for `importlib.metadata`, and loads it when something is asked of it.

    A `LazyLoader` would load it at once, since pydantic imports a function of it, to look for plugins with.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system asks for `__path__`
            raise AttributeError(name)
        return getattr(_metadata(), name)

    @staticmethod
    def entry_points(**selection: Any) -> object:
        """As `importlib.metadata.entry_points`."""
        return _metadata().entry_points(**selection)


def _metadata() -> Any:
    """Return the real `importlib.metadata`, and let it take its place."""
    if isinstance(sys.modules.get(_METADATA), _MetadataLater):
        del sys.modules[_METADATA]
    return importlib.import_module(_METADATA)
