"""Where a worker finds a function or class: the `SourceRef` of a live object."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

from rayform_core.errors import UsageError
from rayform_runtime.spec import PipelineSpec, ProgramSpec, SourceRef
from rayform_runtime.usercode.main_module import reads_command_line

__all__ = ["program_of", "source_of", "type_source"]

_LARGEST_TYPE = 1 << 18
"""Characters of a class that travels with a run; a larger one holds data rather than code."""


def source_of(target: object, *, what: str) -> SourceRef:
    """Return where a worker finds a function or class.

    A function that can be imported, or that is at the top level of a script, is named. One that exists only in
    this process (in a notebook's cell, or inside another function) travels as a pickle.

    Args:
        target: a function, class, step or pipeline.
        what: how an error names it, such as `"Step 'train'"`.

    Raises:
        UsageError: it can neither be imported nor pickled.
    """
    target = getattr(target, "entrypoint", target)
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        # An instance with __call__: it has no name to look it up by.
        return _pickled(target, "__main__", type(target).__qualname__, what)
    file = _file_of(module)
    importable = file is not None or (module in sys.modules and module != "__main__")
    if importable and "<locals>" not in qualname and _names(module, qualname, target):
        return SourceRef(module=module, qualname=qualname, file=file)
    return _pickled(target, module, qualname, what)


def type_source(type_: type) -> SourceRef:
    """Return where a worker finds a type; types are looked up by name and never pickled."""
    return SourceRef(module=type_.__module__, qualname=type_.__qualname__, file=_file_of(type_.__module__))


def program_of(spec: PipelineSpec) -> ProgramSpec:
    """Return the program of this process: what `__main__` and `sys.argv` are in the workers of its run.

    Args:
        spec: the traced pipeline.
    """
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    file = _file_of("__main__")
    # A worker needs them to load and to store their values. Without pickled steps it has no use for them.
    cells = file is None and any(
        source.pickled is not None for source in (spec.source, *(step.source for step in spec.steps))
    )
    types = _types_of_cells(vars(main)) if cells else []
    return ProgramSpec(
        argv=list(map(str, sys.argv)),
        argv_is_read=file is not None and len(sys.argv) > 1 and reads_command_line(file),
        file=file,
        module=name,
        types=types,
    )


def _types_of_cells(variables: Mapping[str, object]) -> list[SourceRef]:
    """Return the classes of a notebook's cells, or of `python -c`, whose values have fields or members."""
    refs = []
    for name, kind in list(variables.items()):
        if not isinstance(kind, type) or kind.__module__ != "__main__" or kind.__qualname__ != name:
            continue
        marks = ("__dataclass_fields__", "__attrs_attrs__", "__members__", "_fields", "model_fields")
        if any(hasattr(kind, mark) for mark in marks):
            with contextlib.suppress(UsageError):
                ref = _pickled(kind, "__main__", name, f"Class '{name}'")
                if len(ref.pickled or "") <= _LARGEST_TYPE:
                    refs.append(ref)
    return refs


def _file_of(module: str) -> str | None:
    """Return the file of a user's module; `None` for built-in modules and notebooks."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if not path or not Path(path).is_file():
        return None
    return str(Path(path).absolute())


def _names(module: str, qualname: str, target: object) -> bool:
    """Whether `module:qualname` is the target, or a step or pipeline made of it."""
    value: object = sys.modules.get(module)
    for part in qualname.split("."):
        value = getattr(value, part, None)
    return getattr(value, "entrypoint", value) is target


def _pickled(target: object, module: str, qualname: str, what: str) -> SourceRef:
    from rayform_runtime.artifacts.pickling import dumps

    try:
        payload = dumps(target)
    except Exception as error:
        raise UsageError(
            f"{what} can't be sent to a worker.",
            why=f"It isn't defined at the top level of a module, and pickling it failed: {error}.",
            hint="Define it at the top level of a .py file.",
        ) from error
    return SourceRef(module=module, qualname=qualname, pickled=base64.b64encode(payload).decode())
