"""Keeps start-up short."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["without_pydantic_plugins"]

_VARIABLE = "PYDANTIC_DISABLE_PLUGINS"


@contextlib.contextmanager
def without_pydantic_plugins() -> Iterator[None]:
    """Stop pydantic from looking for plugins inside the block, where Rayform's own models are imported.

    To find plugins, pydantic reads the metadata of every installed package, which takes a third of its own import.
    Rayform's models need no plugins. Models of user code, made later, get theirs as usual, because pydantic looks
    again once it may.
    """
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = "__all__"
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
