"""Whether a library's class may keep a list of its subclasses, so that code reaches them without their names."""

from __future__ import annotations

import sys

__all__ = ["keeps_subclasses"]

_INERT = frozenset(
    ("attr", "attrs", "numpy", "pandas", "pydantic", "rayform", "sklearn", "torch", "typing_extensions")
)
"""Packages whose classes do something to their subclasses, and keep no list that a program looks them up in."""


def keeps_subclasses(module: str, name: str) -> bool:
    """Whether a class has a metaclass or an `__init_subclass__` of a library's; true if it isn't loaded here.

    Args:
        module: the module that it is imported from.
        name: its name there.
    """
    if _is_inert(module):
        return False
    target = getattr(sys.modules.get(module), name, None)
    if not isinstance(target, type):
        return True
    metaclasses = type.mro(type(target))
    hooked = (kind for kind in target.__mro__ if "__init_subclass__" in vars(kind))
    return any(not _is_inert(kind.__module__) for kind in (*metaclasses, *hooked))


def _is_inert(module: str) -> bool:
    top = module.partition(".")[0]
    return top in ("", "builtins") or top in sys.stdlib_module_names or top in _INERT
