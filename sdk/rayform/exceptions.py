"""The errors that Rayform raises on purpose.

All are a `RayformError`. Two are built-in errors too, so that code which asks for those keeps working: a
`NotFoundError` is a `KeyError`, and a `NoContextError` is a `RuntimeError`.

Example:
    >>> from rayform import Client
    >>> from rayform.exceptions import NotFoundError
    >>> try:
    ...     Client().get_model("digits")  # doctest: +SKIP
    ... except NotFoundError:
    ...     ...
"""

from __future__ import annotations

from rayform_core.errors import (
    ConflictError,
    EntityExistsError,
    IntegrityError,
    NoContextError,
    NotFoundError,
    PipelineFailedError,
    PrerequisiteError,
    RayformError,
    RemoteError,
    UsageError,
)

__all__ = [
    "ConflictError",
    "EntityExistsError",
    "IntegrityError",
    "NoContextError",
    "NotFoundError",
    "PipelineFailedError",
    "PrerequisiteError",
    "RayformError",
    "RemoteError",
    "UsageError",
]
