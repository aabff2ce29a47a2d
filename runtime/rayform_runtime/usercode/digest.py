"""The digest of a step's code: its own source and that of all project code that it can reach.

The cache's keys contain it. So it must change when a helper two modules away changes, and must not change when code
changes that the step never reaches, even in the same file. Nothing is run for it: `module_index` parses the project's
files, and this module follows names from the function through assignments, imports, classes, decorators and constants
to the project's edge. Libraries are not followed: editing a project doesn't change them, and their versions belong to
the environment.

If names can't be followed (a module used as a value, `getattr(module, name)`, `globals()`, `eval`), the whole module
counts. So the digest may make a step run again without need, but never gives a stale result.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rayform_runtime.usercode.module_index import (
    Binding,
    FileStamp,
    Import,
    ModuleIndex,
    Reference,
    file_stamp,
    index_module,
)
from rayform_runtime.usercode.project_modules import find_module, is_project_file

__all__ = ["reached_code", "source_digest"]

_Code: TypeAlias = "type | types.FunctionType | types.MethodType"


class _Unit(NamedTuple):
    """A name at the top level of a module's file; the name `*` is the whole module."""

    file: str
    name: str


class _Digest(NamedTuple):
    """A digest, and the stamps of the files that it was computed from."""

    text: str
    stamps: dict[str, FileStamp]


_digests: dict[tuple[object, ...], _Digest] = {}
"""Digests that files alone decide, by functions: a pipeline that calls one step fifty times asks fifty times."""


def source_digest(function: Callable[..., object], *, also: Iterable[object] = ()) -> str:
    """Return the digest of a function's code and of the project code that it reaches.

    Args:
        function: the step's own function, or an object that wraps one (`__wrapped__`).
        also: other functions or classes whose code decides the result, such as materializers.

    Returns:
        hexadecimal digits. Equal code has equal digits in another folder, or on another machine with the same version
        of Python. Comments and layout don't count.

    Example:
        >>> def double(number: int) -> int:
        ...     return 2 * number
        >>> len(source_digest(double))
        40
    """
    roots = tuple(map(_plain, (function, *also)))
    known = _digests.get(roots)
    if known is not None and all(file_stamp(file) == stamp for file, stamp in known.stamps.items()):
        return known.text
    walk = _Walk()
    for root in roots:
        walk.start(root)
    digest = hashlib.blake2b(digest_size=20)
    for part in walk.parts():
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    if walk.is_static:
        stamps = {unit.file: file_stamp(unit.file) for unit in walk.units}
        _digests[roots] = _Digest(digest.hexdigest(), stamps)
    return digest.hexdigest()


def reached_code(function: Callable[..., object]) -> list[str]:
    """Return the code that the digest of `function` covers, as sorted `module:name`; for users who ask why it changed.

    Example:
        >>> reached_code(print)
        []
    """
    walk = _Walk()
    walk.start(_plain(function))
    return sorted(f"{index_module(Path(unit.file)).label}:{unit.name}" for unit in walk.units)


def _plain(wrapper: object) -> object:
    """Return the function that an object wraps, or the object itself."""
    while True:
        inner: object = getattr(wrapper, "entrypoint", None) or getattr(wrapper, "__wrapped__", None)
        if inner is None:
            return wrapper
        wrapper = inner


class _Walk:
    """Follows names from some functions to all that they reach."""

    def __init__(self) -> None:
        self.units: set[_Unit] = set()
        """Code of the project that is reached."""
        self.loose: dict[str, str] = {}
        """Source or bytecode of functions that are in no file (a notebook's cells), and values in closures."""
        self._todo: list[_Unit] = []
        """Those of `units` whose references are still to be followed."""

    def parts(self) -> list[str]:
        """Return the texts that the digest covers."""
        parts = []
        for file, name in sorted(self.units, key=lambda u: (index_module(Path(u.file)).label, u.name)):
            index = index_module(Path(file))
            texts = [index.whole] if name == "*" else [b.text for b in index.bindings.get(name, ())]
            parts.append(f"{index.label}:{name}={hashlib.blake2b(repr(texts).encode()).hexdigest()}")
        return parts + [f"{key}={value}" for key, value in sorted(self.loose.items())]

    @property
    def is_static(self) -> bool:
        """Whether files alone decide the digest, and no values of this process."""
        return not self.loose

    # -- where to start -------------------------------------------------------------------------------------
    def start(self, root: object) -> None:
        """Add a function or class, or the class of a callable object, and all code that it reaches."""
        if isinstance(root, type | types.FunctionType | types.MethodType):
            code: _Code = root
        elif isinstance(root, types.BuiltinFunctionType) or not callable(root):
            return
        else:
            code = type(root)
        file = _file_of(code)
        top = code.__qualname__.split(".")[0]
        index = index_module(file) if file is not None else None
        if index is None or file is None or (top not in index.bindings and not _is_nested(code)):
            self._start_loose(code)
            return
        self._add(_Unit(str(file), top if top in index.bindings else "*"))
        self._follow()
        self._closure(code)

    def _start_loose(self, code: _Code) -> None:
        """Add code that is in no file: its source if a notebook kept it, otherwise its bytecode."""
        key = f"{code.__module__}:{code.__qualname__}"
        if key in self.loose:
            return
        bytecode = getattr(code, "__code__", None)
        try:
            self.loose[key] = inspect.getsource(code)
        except (OSError, TypeError):
            self.loose[key] = _bytecode(bytecode) if bytecode is not None else repr(code)
        self._closure(code)
        names = set(_names(bytecode)) if bytecode is not None else set()
        if isinstance(code, type):
            for member in vars(code).values():
                member_code = getattr(getattr(member, "__func__", member), "__code__", None)
                names |= set(_names(member_code)) if member_code is not None else set()
        space = getattr(code, "__globals__", None) or vars(sys.modules[code.__module__])
        for name in sorted(names):
            if name in space:
                self._value(f"{key}.{name}", space[name])

    def _closure(self, code: _Code) -> None:
        """Add the values that a function takes from the functions around it."""
        bytecode = getattr(code, "__code__", None)
        names, cells = getattr(bytecode, "co_freevars", ()), getattr(code, "__closure__", None) or ()
        for name, cell in zip(names, cells, strict=False):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # not bound yet
            if value is not code:
                self._value(f"{code.__module__}:{code.__qualname__}.{name}", value)

    def _value(self, key: str, value: object) -> None:
        """Add a value that code refers to by name, and that no assignment in a file explains."""
        value = _plain(value)
        if isinstance(value, types.ModuleType):
            # Built-in modules such as `sys` and `time` have no file, and the file of a namespace package is None.
            file = _project_file(getattr(value, "__file__", None))
            if file is not None:
                self._add(_Unit(str(file), "*"))
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
                        self._binding(index, binding)
                for reference in index.loose_references:
                    self._reference(index, reference)
            else:
                for binding in index.bindings.get(name, ()):
                    self._binding(index, binding)

    def _binding(self, index: ModuleIndex, binding: Binding) -> None:
        if binding.source is not None:
            self._import(index, binding.source, ())
        for reference in binding.references:
            self._reference(index, reference)

    def _reference(self, index: ModuleIndex, reference: Reference) -> None:
        """Follow a reference from a module: to an import, or to a name that is bound there or star-imported."""
        if reference.source is not None:
            self._import(index, reference.source, reference.names)
        elif reference.names[0] == "*":
            self._add(_Unit(str(index.file), "*"))
        else:
            self._name(index, reference.names)

    def _name(self, index: ModuleIndex, names: tuple[str, ...]) -> None:
        """Follow `a.b.c` from a module: `a` is bound there, comes from a star import, or is a builtin."""
        bindings = index.bindings.get(names[0])
        if bindings is None:
            for star in index.stars:
                module = find_module(star, relative_to=index.file)
                if module is not None and self._reach(module, names):
                    self._add(_Unit(str(index.file), names[0]))
                    return
            return
        sources = [b.source for b in bindings if b.source is not None]
        if len(sources) < len(bindings):
            self._add(_Unit(str(index.file), names[0]))
        for source in sources:
            self._import(index, source, names[1:])

    def _import(self, index: ModuleIndex, source: Import, rest: tuple[str, ...]) -> None:
        """Follow an import, and the names after it, to the project's file that defines them, if there is one."""
        module = find_module(source.module, relative_to=index.file)
        if source.name is not None:
            if module is not None and self._reach(module, (source.name, *rest)):
                return
            # `from package import module`
            dotted = _dotted(source.module, source.name)
            submodule = find_module(dotted, relative_to=index.file)
            if submodule is not None:
                self._reach_in_module(dotted, submodule, rest, index)
            elif module is not None:
                # The module makes the name at run time: `__getattr__`, `globals()[...]`.
                self._add(_Unit(str(module), "*"))
        elif module is not None or any(
            find_module(_dotted(source.module, part), relative_to=index.file) for part in rest[:1]
        ):
            self._reach_in_module(source.module, module, rest, index)

    def _reach_in_module(
        self, name: str, module: Path | None, rest: tuple[str, ...], index: ModuleIndex
    ) -> None:
        """Follow `rest` from a module: a name in it, a submodule, or nothing, which means the whole module."""
        if not rest:
            if module is not None:
                self._add(_Unit(str(module), "*"))
            return
        if module is not None and self._reach(module, rest):
            return
        submodule = find_module(_dotted(name, rest[0]), relative_to=index.file)
        if submodule is not None:
            self._reach_in_module(_dotted(name, rest[0]), submodule, rest[1:], index)
        elif module is not None:
            self._add(_Unit(str(module), "*"))

    def _reach(self, module: Path, names: tuple[str, ...]) -> bool:
        """Follow names into a project's module; return false if the module's text doesn't bind the first."""
        index = index_module(module)
        if names[0] in index.bindings:
            self._name(index, names)
            return True
        for star in index.stars:
            deeper = find_module(star, relative_to=index.file)
            if deeper is not None and deeper != module and self._reach(deeper, names):
                return True
        return False


def _dotted(module: str, name: str) -> str:
    return module + name if module.endswith(".") else f"{module}.{name}"


def _is_nested(code: _Code) -> bool:
    return "<locals>" in code.__qualname__ or "<lambda>" in code.__qualname__


def _file_of(code: _Code) -> Path | None:
    """Return the project's file that defines a function or class."""
    bytecode = getattr(code, "__code__", None)
    if bytecode is not None:
        return _project_file(bytecode.co_filename)
    module = sys.modules.get(getattr(code, "__module__", "") or "")
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
