"""Rayform: turns a stack definition into real infrastructure and runs machine-learning pipelines on it.

Everything that a person imports stands here and is resolved on first use, so that `import rayform` costs a
few milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.version import __version__

if TYPE_CHECKING:
    from rayform_core.errors import RayformError
    from rayform_runtime.catalog.interface import ModelStage
    from rayform_runtime.spec import ArtifactType, ImageSpec, Resources, RetryPolicy

_HOMES = {
    "ArtifactType": "rayform_runtime.spec",
    "ImageSpec": "rayform_runtime.spec",
    "ModelStage": "rayform_runtime.catalog.interface",
    "RayformError": "rayform_core.errors",
    "Resources": "rayform_runtime.spec",
    "RetryPolicy": "rayform_runtime.spec",
}

__all__ = [
    "ArtifactType",
    "ImageSpec",
    "ModelStage",
    "RayformError",
    "Resources",
    "RetryPolicy",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rayform' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
