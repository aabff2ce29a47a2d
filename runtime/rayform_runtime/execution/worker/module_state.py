"""Module-level variables of the user's code: whether a step has changed one, so that its worker must end.

A worker whose modules differ from what importing them gives would hand the difference to the next step. Nothing is put
back: a module may have set up a library together with its variables. The next step gets a new worker, which forks from
the prepared process.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from random import Random
from types import FunctionType, ModuleType
from typing import NamedTuple, cast

from rayform_runtime.usercode.project_modules import is_project_file
from rayform_runtime.usercode.tracebacks import is_framework_file

__all__ = ["ModuleStates"]

_LARGEST = 10_000
"""Items of one container that are compared; of a larger one, only the number of items."""
_DEEPEST = 4
_LIBRARY = f"{os.path.dirname(os.__file__)}/"  # noqa: PTH120 - a prefix to compare text with
_NOTHING = object()
_CONTAINERS = (list, dict, set, bytearray, deque)


class _Copy(NamedTuple):
    container: object
    content: object
    """A copy whose containers are copies too; the number of items for a large one."""


class _Snapshot(NamedTuple):
    """A module as it was.

    Args:
        module: the module.
        variables: its variables.
        copies: contents of containers among them, and attributes of objects whose class the module defines.
        classes: attributes of the classes that it defines.
        generators: states of random generators.
    """

    module: ModuleType
    variables: dict[str, object]
    copies: list[_Copy]
    classes: list[_Copy]
    generators: list[_Copy]


class ModuleStates:
    """The variables of the project's modules, as they were when each module had been imported."""

    def __init__(self) -> None:
        self._snapshots: dict[str, _Snapshot] = {}
        # Names of all modules that were looked at. A worker makes this object before it imports the user's code.
        self._known = set(sys.modules)

    def watch(self) -> None:
        """Take a snapshot of each of the project's modules as soon as it has been imported, from now on."""
        finders = [number for number, finder in enumerate(sys.meta_path) if finder is PathFinder]
        if finders:
            sys.meta_path.insert(finders[0], _Watch(self.note))

    def note(self, module: ModuleType) -> None:
        """Take a snapshot of a module, if there is none."""
        if module.__name__ not in self._snapshots:
            self._snapshots[module.__name__] = _snapshot(module)

    def note_new(self) -> None:
        """Take snapshots of the modules that were imported since the last call."""
        new = sys.modules.keys() - self._known
        self._known |= new
        for name in new:
            module = sys.modules[name]
            if name not in self._snapshots and _is_of_project(module):
                self._snapshots[name] = _snapshot(module)

    def are_unchanged(self) -> bool:
        """Return whether all of them are what they were."""
        return all(
            sys.modules.get(name) is snapshot.module and _is_unchanged(snapshot)
            for name, snapshot in self._snapshots.items()
        )


class _Watch:
    """Finds modules as `PathFinder` does, and passes on those of the project once they have been imported."""

    def __init__(self, note: Callable[[ModuleType], None]) -> None:
        self._note = note

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what `PathFinder` finds."""
        spec = PathFinder.find_spec(name, path, target)
        loader = spec.loader if spec is not None else None
        if (
            spec is None
            or type(loader) is not SourceFileLoader
            or not is_project_file(Path(spec.origin or ""))
        ):
            return spec
        load, note = loader.exec_module, self._note

        def exec_module(module: ModuleType) -> None:
            load(module)
            note(module)

        vars(loader)["exec_module"] = exec_module
        return spec


def _is_of_project(module: object) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(module, ModuleType) or not isinstance(file, str):
        return False
    # Nearly all modules are installed ones; asking for each of them took 13 ms.
    if "/site-packages/" in file or file.startswith(_LIBRARY) or is_framework_file(file):
        return False
    return is_project_file(Path(file))


def _variables(variables: Mapping[str, object]) -> dict[str, object]:
    # Importing a submodule sets an attribute of its package, and warnings keep a registry in each module.
    return {
        name: value
        for name, value in variables.items()
        if not (name.startswith("__") and name.endswith("__")) and not isinstance(value, ModuleType)
    }


def _snapshot(module: ModuleType) -> _Snapshot:
    snapshot = _Snapshot(module, dict(vars(module)), [], [], [])
    for value in _variables(snapshot.variables).values():
        if isinstance(value, FunctionType):
            continue
        if type(value) in _CONTAINERS:
            snapshot.copies.append(_Copy(value, _copied(value, 0)))
        elif isinstance(value, type) and value.__module__ == module.__name__:
            snapshot.classes.append(_Copy(value, dict(vars(value))))
            contents = [item for item in vars(value).values() if type(item) in _CONTAINERS]
            snapshot.copies.extend(_Copy(item, _copied(item, 0)) for item in contents)
        elif (state := _generator_state(value)) is not None:
            snapshot.generators.append(_Copy(value, state))
        elif (attributes := _attributes(value, module)) is not None:
            snapshot.copies.append(_Copy(attributes, _copied(attributes, 0)))
    return snapshot


def _generator_state(value: object) -> object:
    """Return the state of a random generator of Python or NumPy; `None` for other objects."""
    if isinstance(value, Random):
        return value.getstate()
    if type(value).__module__.startswith("numpy.random"):
        bits = getattr(value, "bit_generator", getattr(value, "_bit_generator", value))
        return repr(getattr(bits, "state", None))
    return None


def _attributes(value: object, module: ModuleType) -> dict[str, object] | None:
    """Return the attributes of an object whose class this module defines."""
    attributes = getattr(value, "__dict__", None)
    return attributes if type(value).__module__ == module.__name__ and type(attributes) is dict else None


def _copied(value: object, depth: int) -> object:
    if type(value) not in _CONTAINERS or depth > _DEEPEST:
        return value
    assert isinstance(value, _CONTAINERS)
    if len(value) > _LARGEST:
        return len(value)
    if isinstance(value, dict):
        return {key: _copied(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, depth + 1) for item in value]
    if isinstance(value, deque):
        return deque((_copied(item, depth + 1) for item in value), value.maxlen)
    return value.copy()


def _is_unchanged(snapshot: _Snapshot) -> bool:
    try:
        now = vars(snapshot.module)
        if now != snapshot.variables and _variables(now) != _variables(snapshot.variables):
            return False
        return (
            all(_has_content(copy) for copy in snapshot.copies)
            and all(_is_same_class(copy) for copy in snapshot.classes)
            and all(_generator_state(copy.container) == copy.content for copy in snapshot.generators)
        )
    except Exception:  # noqa: BLE001 - objects that can't be compared, such as an array in place of another
        return False


def _is_same_class(copy: _Copy) -> bool:
    now, before = vars(copy.container), cast("dict[str, object]", copy.content)
    # Libraries keep what they found out about a class in attributes with underscores.
    return now == before or all(
        before.get(name, _NOTHING) is value for name, value in now.items() if not name.startswith("_")
    )


def _has_content(copy: _Copy) -> bool:
    if isinstance(copy.content, int):
        return len(copy.container) == copy.content  # type: ignore[arg-type]  # a container
    return copy.container == copy.content
