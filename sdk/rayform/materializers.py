"""The public import path of materializers, to store user-defined types.

Example:
    >>> from rayform.materializers import Materializer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayform_runtime.artifacts.materializers.base import Materializer
    from rayform_runtime.artifacts.materializers.json_values import JsonMaterializer
    from rayform_runtime.artifacts.materializers.pickled import CloudpickleMaterializer
    from rayform_runtime.artifacts.materializers.registry import register
    from rayform_runtime.artifacts.materializers.sklearn_estimators import SklearnMaterializer

__all__ = [
    "CloudpickleMaterializer",
    "JsonMaterializer",
    "Materializer",
    "SklearnMaterializer",
    "register",
]

_HOMES = {
    "CloudpickleMaterializer": "pickled",
    "JsonMaterializer": "json_values",
    "Materializer": "base",
    "SklearnMaterializer": "sklearn_estimators",
    "register": "registry",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'rayform.materializers' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"rayform_runtime.artifacts.materializers.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
