"""What keeps start-up short."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["without_pydantic_plugins"]

_VARIABLE = "PYDANTIC_DISABLE_PLUGINS"


@contextlib.contextmanager
def without_pydantic_plugins() -> Iterator[None]:
    """Import Rayform's own pydantic models in here: pydantic then doesn't look for plugins yet.

    To find plugins it reads the metadata of every installed package, which takes a third of pydantic's own
    import. Rayform's models need none; those of a person's code, made later, get theirs as ever, because
    pydantic looks anew as long as it was told not to.
    """
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = "__all__"
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
