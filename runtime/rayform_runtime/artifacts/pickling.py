"""Pickles by cloudpickle: with the code of what has no name, and with the names of everything else."""

from __future__ import annotations

import dataclasses
import io
import pickle
import sys
from types import FunctionType
from typing import IO, Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeGoneError, main_name, resolve

__all__ = ["dumps", "pickler", "repair_main"]

_MARKS = {
    id(mark): name for name, mark in vars(dataclasses).items() if type(mark).__module__ == "dataclasses"
}
"""Names of the marks that `dataclasses` recognizes by identity, such as `MISSING`."""


def pickler(file: IO[bytes]) -> pickle.Pickler:
    """Return cloudpickle's pickler, which names what a script defines rather than copying its code.

    A copied class is another class: `isinstance` would be false for what a step gets back. A copied mark of
    `dataclasses` would be another mark: a field without a default would have one.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def reducer_override(self, obj: Any) -> Any:
            if id(obj) in _MARKS and getattr(dataclasses, _MARKS[id(obj)], None) is obj:
                return _MARKS[id(obj)]
            if isinstance(obj, type | FunctionType) and obj.__module__ in ("__main__", "__mp_main__"):
                path = f"{main_name()}:{obj.__qualname__}"
                if main_name() is not None:
                    found = _resolved(path)
                    if found is obj:
                        return resolve, (path,)
                    if getattr(found, "entrypoint", None) is obj:
                        return _function_of, (path,)
            return super().reducer_override(obj)

    return Pickler(file, protocol=5)


def dumps(value: object) -> bytes:
    """Return a pickle of a value."""
    file = io.BytesIO()
    pickler(file).dump(value)
    return file.getvalue()


def repair_main() -> None:
    """Give dataclasses of `__main__` the marks of `dataclasses` again.

    joblib copies classes of `__main__` by value, to its processes and back. A field then has another mark for its
    missing default, which nobody recognizes.
    """
    for kind in list(vars(sys.modules["__main__"]).values()):
        fields = vars(kind).get("__dataclass_fields__") if isinstance(kind, type) else None
        for field in (fields or {}).values():
            for name in ("default", "default_factory", "kw_only"):
                value = getattr(field, name, None)
                if type(value) is type(dataclasses.MISSING) and value is not dataclasses.MISSING:
                    setattr(field, name, dataclasses.MISSING)
            mark = getattr(dataclasses, str(getattr(field._field_type, "name", "")), None)
            if mark is not None and type(mark) is type(field._field_type):
                field._field_type = mark


def _resolved(path: str) -> object:
    try:
        return resolve(path)
    except (TypeGoneError, UsageError):
        return None


def _function_of(path: str) -> object:
    """Return the function of a step or pipeline."""
    return getattr(resolve(path), "entrypoint")  # noqa: B009 - `resolve` returns any object
