"""The digest of a step's code: its own source and that of all project code that it can reach.

Caching keys on it, so it must change when a helper two modules away does, and must not change when something
does that the step never reaches, even in the same file. It is found without running anything: `module_index`
parses the project's files, and this module follows names from the function through assignments, imports,
classes, decorators and constants to the project's edge. Libraries are not followed: what is installed
doesn't change under a project's hands, and its versions belong to the environment.

Where names can't be followed (a module taken as a value, `getattr(module, name)`, `globals()`, `eval`), the
whole module counts. So the digest errs towards running a step again, never towards a stale result.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rayform_runtime.usercode.module_index import Binding, ModuleIndex, file_stamp, index_module
from rayform_runtime.usercode.project_modules import find_module, is_project_file

__all__ = ["reached_code", "source_digest"]

_known: dict[Any, tuple[str, list[tuple[str, tuple[int, int]]]]] = {}
"""Digests of functions that were asked for before, with the files that they hold for: a pipeline that calls one
step fifty times asks fifty times."""

_Unit = tuple[str, str]
"""A module's file and a name at its top level; `"*"` is the whole module."""


def source_digest(function: Callable[..., Any], *, also: Iterable[Any] = ()) -> str:
    """Return the digest of a function's code and of the project code that it reaches.

    Args:
        function: the step's own function, or an object that wraps one (`__wrapped__`).
        also: further functions or classes whose code decides the result, such as materializers.

    Returns:
        hexadecimal digits; equal code gives equal digits in another folder or on another machine with the
        same version of Python. Comments and layout don't count.

    Example:
        >>> def double(number: int) -> int:
        ...     return 2 * number
        >>> len(source_digest(double))
        40
    """
    plain, others = _plain(function), tuple(map(_plain, also))
    known = _known.get((plain, others))
    if known is not None and all(file_stamp(file) == stamp for file, stamp in known[1]):
        return known[0]
    walk = _Walk()
    for found in (plain, *others):
        walk.start(found)
    digest = hashlib.blake2b(digest_size=20)
    for part in walk.parts():
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    if walk.is_static:
        files = sorted({file for file, _ in walk.units})
        _known[plain, others] = (digest.hexdigest(), [(file, file_stamp(file)) for file in files])
    return digest.hexdigest()


def reached_code(function: Callable[..., Any]) -> list[str]:
    """Return what the digest of `function` covers, as `module:name`, sorted; for people who ask why.

    Example:
        >>> reached_code(print)
        []
    """
    walk = _Walk()
    walk.start(_plain(function))
    return sorted(f"{index_module(Path(file)).label}:{name}" for file, name in walk.units)


def _plain(found: Any) -> Any:
    while True:
        inner = getattr(found, "entrypoint", None) or getattr(found, "__wrapped__", None)
        if inner is None:
            return found
        found = inner


class _Walk:
    """Follows names from some functions to all that they reach."""

    def __init__(self) -> None:
        self.units: set[_Unit] = set()
        self.loose: dict[str, str] = {}
        """Source or bytecode of functions that no file has (a notebook's cells), and values in closures."""
        self._todo: list[_Unit] = []

    def parts(self) -> list[str]:
        found = []
        for file, name in sorted(self.units, key=lambda u: (index_module(Path(u[0])).label, u[1])):
            index = index_module(Path(file))
            texts = [index.whole] if name == "*" else [b.text for b in index.bindings.get(name, ())]
            found.append(f"{index.label}:{name}={hashlib.blake2b(repr(texts).encode()).hexdigest()}")
        return found + [f"{key}={value}" for key, value in sorted(self.loose.items())]

    @property
    def is_static(self) -> bool:
        """Whether the files alone decide the digest, and no values of this process."""
        return not self.loose

    # -- where to start -------------------------------------------------------------------------------------
    def start(self, found: Any) -> None:
        """Add a function or class and all that it reaches."""
        if not isinstance(found, type | types.FunctionType | types.MethodType):
            if not callable(found) or isinstance(found, types.BuiltinFunctionType):
                return
            found = type(found)
        file = _file_of(found)
        top = found.__qualname__.split(".")[0]
        index = index_module(file) if file is not None else None
        if index is None or file is None or (top not in index.bindings and not _is_nested(found)):
            self._start_loose(found)
            return
        self._add((str(file), top if top in index.bindings else "*"))
        self._follow()
        self._closure(found)

    def _start_loose(self, found: Any) -> None:
        """A function without a file: its source where a notebook kept it, else its bytecode."""
        key = f"{found.__module__}:{found.__qualname__}"
        if key in self.loose:
            return
        code = getattr(found, "__code__", None)
        try:
            self.loose[key] = inspect.getsource(found)
        except (OSError, TypeError):
            self.loose[key] = _bytecode(code) if code is not None else repr(found)
        self._closure(found)
        names = set(_names(code)) if code is not None else set()
        if isinstance(found, type):
            for member in vars(found).values():
                member_code = getattr(getattr(member, "__func__", member), "__code__", None)
                names |= set(_names(member_code)) if member_code is not None else set()
        space = getattr(found, "__globals__", None) or vars(sys.modules[found.__module__])
        for name in sorted(names):
            if name in space:
                self._value(f"{key}.{name}", space[name])

    def _closure(self, found: Any) -> None:
        code = getattr(found, "__code__", None)
        names, cells = getattr(code, "co_freevars", ()), getattr(found, "__closure__", None) or ()
        for name, cell in zip(names, cells, strict=False):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # not bound yet
            if value is not found:
                self._value(f"{found.__module__}:{found.__qualname__}.{name}", value)

    def _value(self, key: str, value: Any) -> None:
        """Add a value that code refers to by name and that no assignment in a file explains."""
        value = _plain(value)
        if isinstance(value, types.ModuleType):
            # Built-in modules such as `sys` and `time` come from no file, and namespace packages have None.
            file = _project_file(place) if (place := getattr(value, "__file__", None)) else None
            if file is not None:
                self._add((str(file), "*"))
                self._follow()
        elif isinstance(value, types.FunctionType | types.MethodType | type):
            if value.__module__ == "__main__" or _file_of(value) is not None:
                self.start(value)
        elif isinstance(value, str | bytes | int | float | bool | complex | type(None)):
            self.loose.setdefault(key, repr(value))
        elif isinstance(value, tuple | list | frozenset | set | dict) and len(value) < 1000:
            in_order = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
            self.loose.setdefault(key, repr(in_order))
        else:
            self.loose.setdefault(key, f"{type(value).__module__}:{type(value).__qualname__}")
            if _file_of(type(value)) is not None:
                self.start(type(value))

    # -- following ------------------------------------------------------------------------------------------
    def _add(self, unit: _Unit) -> None:
        if unit not in self.units:
            self.units.add(unit)
            self._todo.append(unit)

    def _follow(self) -> None:
        while self._todo:
            file, name = self._todo.pop()
            index = index_module(Path(file))
            if name == "*":
                for bindings in list(index.bindings.values()):
                    for binding in bindings:
                        self._binding(index, binding, ())
                for chain in index.loose_references:
                    self._reference(index, chain)
            else:
                for binding in index.bindings.get(name, ()):
                    self._binding(index, binding, ())

    def _binding(self, index: ModuleIndex, binding: Binding, rest: tuple[str, ...]) -> None:
        if binding.target is not None:
            self._import(index, binding, rest)
        for chain in binding.references:
            self._reference(index, chain)

    def _reference(self, index: ModuleIndex, chain: tuple[str, ...]) -> None:
        """Follow `a.b.c` from a module: `a` is bound there, comes from a star import, or is a builtin."""
        name = chain[0]
        if name == "*":
            self._add((str(index.file), "*"))
            return
        if name == "<import>":
            self._import(index, Binding("", frozenset(), (chain[1], None)), chain[2:])
            return
        if name == "<from>":
            self._import(index, Binding("", frozenset(), (chain[1], chain[2])), chain[3:])
            return
        bindings = index.bindings.get(name)
        if bindings is None:
            for star in index.stars:
                module = find_module(star, relative_to=index.file)
                if module is not None and self._reach(module, chain):
                    self._add((str(index.file), name))
                    return
            return
        imports = [b for b in bindings if b.target is not None]
        if len(imports) < len(bindings):
            self._add((str(index.file), name))
        for binding in imports:
            self._import(index, binding, chain[1:])

    def _import(self, index: ModuleIndex, binding: Binding, rest: tuple[str, ...]) -> None:
        """Follow an imported name to the project's file that has it, where a project's file has it."""
        assert binding.target is not None
        module_name, attribute = binding.target
        if attribute is not None:
            module = find_module(module_name, relative_to=index.file)
            if module is not None and self._reach(module, (attribute, *rest)):
                return
            # `from package import module`
            submodule = find_module(_dotted(module_name, attribute), relative_to=index.file)
            if submodule is not None:
                self._reach_in_module(_dotted(module_name, attribute), submodule, rest, index)
            elif module is not None:
                self._add((str(module), "*"))  # made at run time: `__getattr__`, `globals()[...]`
            return
        module = find_module(module_name, relative_to=index.file)
        if module is not None or any(
            find_module(_dotted(module_name, p), relative_to=index.file) for p in rest[:1]
        ):
            self._reach_in_module(module_name, module, rest, index)

    def _reach_in_module(
        self, name: str, module: Path | None, rest: tuple[str, ...], index: ModuleIndex
    ) -> None:
        """`rest` is what is taken from a module: a name in it, a submodule, or nothing (then all of it)."""
        if not rest:
            if module is not None:
                self._add((str(module), "*"))
            return
        if module is not None and self._reach(module, rest):
            return
        submodule = find_module(_dotted(name, rest[0]), relative_to=index.file)
        if submodule is not None:
            self._reach_in_module(_dotted(name, rest[0]), submodule, rest[1:], index)
        elif module is not None:
            self._add((str(module), "*"))

    def _reach(self, module: Path, chain: tuple[str, ...]) -> bool:
        """Add `chain[0]` of a project module; false where the module's text doesn't bind it."""
        target = index_module(module)
        if chain[0] in target.bindings:
            self._reference(target, chain)
            return True
        for star in target.stars:
            deeper = find_module(star, relative_to=target.file)
            if deeper is not None and deeper != module and self._reach(deeper, chain):
                return True
        return False


def _dotted(module: str, name: str) -> str:
    return module + name if module.endswith(".") else f"{module}.{name}"


def _is_nested(found: Any) -> bool:
    return "<locals>" in found.__qualname__ or "<lambda>" in found.__qualname__


def _file_of(found: Any) -> Path | None:
    """Return the project's file that defines a function or class."""
    code = getattr(found, "__code__", None)
    if code is not None:
        return _project_file(code.co_filename)
    module = sys.modules.get(getattr(found, "__module__", "") or "")
    return _project_file(getattr(module, "__file__", None))


def _project_file(file: str | None) -> Path | None:
    if not file:
        return None
    path = Path(file)
    return path if is_project_file(path) else None


def _names(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _bytecode(code: types.CodeType) -> str:
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code.hex(), constants, code.co_names, code.co_varnames))
