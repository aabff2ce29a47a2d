"""Which code of the project a function reaches; `digest` says what counts and why."""

from __future__ import annotations

import fnmatch
import hashlib
import inspect
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rayform_runtime.usercode.library_classes import keeps_subclasses
from rayform_runtime.usercode.loose_code import bytecode_text, closure_values, names_in
from rayform_runtime.usercode.module_index import FileStamp, ModuleIndex, file_stamp, index_module
from rayform_runtime.usercode.project_modules import find_module, is_project_file
from rayform_runtime.usercode.references import IMPORT_ONLY, Import, Reference

__all__ = ["ProjectSnapshot", "StepCode", "Walk", "plain_function"]

_Code: TypeAlias = "type | types.FunctionType | types.MethodType"


class _Unit(NamedTuple):
    """A name at the top level of a module's file; the name `*` is the whole module."""

    file: str
    name: str


_COMPUTED_IMPORTS = frozenset(
    {
        *("import_module", "__import__", "iter_modules", "walk_packages", "resolve_name"),
        *("spec_from_file_location", "SourceFileLoader", "run_path", "run_module", "exec"),
    }
)
"""Functions of Python's that load modules whose names or files a program computes."""
_IMPORT = "<import>"
"""The name of a unit that stands for what an import of the module runs."""


class ProjectSnapshot:
    """The project's files at one moment, for several digests: each file is looked at once.

    One trace of a pipeline uses one snapshot, since a pipeline may call many steps whose code lies in the same files.

    """

    def __init__(self) -> None:
        self._indexes: dict[str, ModuleIndex] = {}
        self._stamps: dict[str, FileStamp] = {}
        self.imported: dict[str, Walk] = {}
        """By the file of a step: what its import alone reaches. The walks of all steps of the file start from it."""

    def index(self, file: str | Path) -> ModuleIndex:
        """Return a file, parsed."""
        name = str(file)
        index = self._indexes.get(name)
        if index is None:
            index = self._indexes[name] = index_module(Path(name))
        return index

    def stamp(self, file: str) -> FileStamp:
        """Return the stamp of a file."""
        stamp = self._stamps.get(file)
        if stamp is None:
            stamp = self._stamps[file] = file_stamp(file)
        return stamp


@dataclass(frozen=True, slots=True)
class StepCode:
    """The code that a step can reach.

    Args:
        digest: of all of it, hexadecimal.
        parts: the digest of each part by its place, `FILE:NAME`; `FILE:<import>` is what the file's import runs.
        files: the project's files that it lies in.
    """

    digest: str
    parts: Mapping[str, str]
    files: frozenset[str]


def plain_function(wrapper: object) -> object:
    """Return the function that an object wraps, or the object itself."""
    while True:
        inner: object = getattr(wrapper, "entrypoint", None) or getattr(wrapper, "__wrapped__", None)
        if inner is None:
            return wrapper
        wrapper = inner


class Walk:
    """Follows names from some functions to all that they reach."""

    def __init__(self, snapshot: ProjectSnapshot) -> None:
        self._snapshot = snapshot
        self.units: set[_Unit] = set()
        """Code of the project that is reached."""
        self.loose: dict[str, str] = {}
        """Source or bytecode of functions that are in no file (a notebook's cells), and values in closures."""
        self._todo: list[_Unit] = []
        """Those of `units` whose references are still to be followed."""
        self._import_time: dict[str, str] = {}  # digests of what the import of each file runs
        self._class_hooks = False
        """Whether a class of the project is told of its subclasses, or asks for them."""
        self._followed: set[tuple[Path, tuple[str, ...], frozenset[Path]]] = set()
        """Dotted names that were followed, with the file in which they stand and the folders that import."""
        self._importing: frozenset[Path] = frozenset()
        """Folders of the modules whose import runs the code that is being followed; empty for code of a step."""
        self._importers: dict[_Unit, frozenset[Path]] = {}
        """The same for each reached name."""
        self._computing: set[_Unit] = set()
        """Names whose code loads modules by computed names."""
        self._folders: set[Path] = set()
        """Folders of which all modules count."""
        self._unit = _Unit("", "")
        """The one that is being followed."""

    def code(self) -> StepCode:
        """Return all that is reached."""
        parts = {}
        for file, name in self.units:
            index = self._snapshot.index(file)
            whole = index.whole if name == "*" else None
            imported = self._import_time[file] if name == _IMPORT else None
            parts[f"{index.label}:{name}"] = whole or imported or index.digest_of(name)
        loose = {
            place: hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
            for place, text in self.loose.items()
        }
        parts = dict(sorted({**parts, **loose}.items()))
        whole = "\0".join(f"{place}={text}" for place, text in parts.items())
        digest = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        return StepCode(digest, parts, frozenset(file for file, _ in self.units))

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
        index = self._snapshot.index(file) if file is not None else None
        if index is None or file is None or (top not in index.bindings and not _is_nested(code)):
            self._start_loose(code)
            return
        self._start_from_import(str(file))
        self._add(_Unit(str(file), top if top in index.bindings else "*"))
        self._follow()
        self._closure(code)

    def add_file(self, file: str, name: str) -> None:
        """Add a name in a file and all that it reaches; the whole file if it has no such name."""
        top = name.partition(".")[0]
        self._add(_Unit(file, top if top in self._snapshot.index(file).bindings else "*"))
        self._follow()

    def _start_from_import(self, file: str) -> None:
        """Take over what the import of a file reaches, if a walk of this snapshot has followed it."""
        imported = self._snapshot.imported.get(file)
        if imported is None:
            imported = self._snapshot.imported[file] = Walk(self._snapshot)
            imported._add(_Unit(file, _IMPORT))
            imported._follow()
        if not self.units:
            self.units, self._followed = set(imported.units), set(imported._followed)
            self._import_time, self._class_hooks = dict(imported._import_time), imported._class_hooks
            self._importers, self._computing = dict(imported._importers), set(imported._computing)

    def _start_loose(self, code: _Code) -> None:
        """Add code that is in no file: its source if a notebook kept it, otherwise its bytecode."""
        key = f"{code.__module__}:{code.__qualname__}"
        if key in self.loose:
            return
        bytecode = getattr(code, "__code__", None)
        try:
            self.loose[key] = inspect.getsource(code)
        except (OSError, TypeError):
            self.loose[key] = bytecode_text(bytecode) if bytecode is not None else repr(code)
        self._closure(code)
        names = set(names_in(bytecode)) if bytecode is not None else set()
        if isinstance(code, type):
            for member in vars(code).values():
                member_code = getattr(getattr(member, "__func__", member), "__code__", None)
                names |= set(names_in(member_code)) if member_code is not None else set()
        space = getattr(code, "__globals__", None) or vars(sys.modules[code.__module__])
        for name in sorted(names):
            if name in space:
                self._value(f"{key}.{name}", space[name])

    def _closure(self, code: _Code) -> None:
        """Add the values that a function takes from the functions around it."""
        for name, value in closure_values(code):
            self._value(f"{code.__module__}:{code.__qualname__}.{name}", value)

    def _value(self, key: str, value: object) -> None:
        """Add a value that code refers to by name, and that no assignment in a file explains."""
        value = plain_function(value)
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
            if unit.name != _IMPORT:
                self._add(_Unit(unit.file, _IMPORT))
        if unit.name != _IMPORT and not self._importing <= self._importers.get(unit, frozenset()):
            self._importers[unit] = self._importers.get(unit, frozenset()) | self._importing
            if unit in self._computing:
                self._add_folders(self._importing)

    def _follow(self) -> None:
        while self._todo:
            while self._todo:
                self._follow_unit(*self._todo.pop())
            if self._class_hooks:
                for file in self._import_time:
                    for name in self._snapshot.index(file).subclasses:
                        self._add(_Unit(file, name))
            # A package that is used as a value gives its submodules away, as far as something imports them.
            packages = {
                Path(u.file).parent for u in self.units if u.name == "*" and u.file.endswith("__init__.py")
            }
            for file in list(self._import_time) if packages else ():
                if not packages.isdisjoint(Path(file).parents):
                    self._add(_Unit(file, "*"))

    def _follow_unit(self, file: str, name: str) -> None:
        index = self._snapshot.index(file)
        if name == _IMPORT:
            self._import_module(index)
            return
        if name == "*":
            references: Iterable[Reference] = index.loose_references
            for binding in [b for bindings in index.bindings.values() for b in bindings]:
                if binding.source is not None:
                    self._import(index, binding.source, ())
        else:
            references = [r for binding in index.bindings.get(name, ()) for r in binding.references]
        self._unit, self._importing = _Unit(file, name), self._importers.get(_Unit(file, name), frozenset())
        for reference in references:
            self._reference(index, reference)
        self._importing = frozenset()

    def _import_module(self, index: ModuleIndex) -> None:
        """Follow what the import of a module runs: its packages, its statements, and what it imports."""
        texts: list[str] = []
        self._unit, self._importing = _Unit(str(index.file), _IMPORT), frozenset({index.file.parent})
        folder = index.file.parent.parent if index.file.stem == "__init__" else index.file.parent
        if (package := folder / "__init__.py").is_file():
            self._add(_Unit(str(package), _IMPORT))
        pipelines: set[str] = set()
        for statement in index.import_time:
            if any(name in pipelines or self._is_pipeline(index, name) for name in statement.calls):
                if not statement.makes and statement.is_certain:
                    break  # a worker that loads this script stops here
                pipelines |= statement.makes
                continue
            texts.append(statement.text)
            for reference in statement.references:
                self._reference(index, reference)
        digest = hashlib.blake2b(repr(texts).encode(), digest_size=10).hexdigest()
        self._import_time[str(index.file)] = digest
        for source in index.imports:
            self._enter(source, index)
        for name in index.registered:
            self._add(_Unit(str(index.file), name))
        self._class_hooks = self._class_hooks or index.has_class_hooks or _extends_registry(index)
        self._importing = frozenset()

    def _computed(self, index: ModuleIndex, name: str) -> None:
        """Note that the code that is being followed loads modules by names that it computes.

        If an import runs it, they may be any in its own folder and in that of the importing module. In a step, the
        worker notes which they are; only what `exec` reads it can't tell.
        """
        self._computing.add(self._unit)
        if self._importing or name == "exec":
            self._add_folders({*self._importing, index.file.parent})

    def _add_folders(self, folders: Iterable[Path]) -> None:
        for folder in sorted(set(folders) - self._folders):
            self._folders.add(folder)
            for path in sorted(folder.rglob("*.py")):
                if is_project_file(path):
                    self._add(_Unit(str(path), "*"))

    def _enter(self, source: Import, index: ModuleIndex) -> None:
        """Add what an import statement runs: the module, the packages that it is in, and a submodule that it names."""
        parts = source.module.split(".")
        ends = range(1, len(parts) + 1) if parts[0] else range(len(parts), len(parts) + 1)
        file = None
        for end in ends:
            module = ".".join(parts[:end])
            file = find_module(module, relative_to=index.file)
            if file is not None:
                self._add(_Unit(str(file), _IMPORT))
            elif _is_library(module):
                return
        if source.name is not None:
            is_bound = file is not None and source.name in self._snapshot.index(file).bindings
            if not is_bound or file == index.file:
                submodule = find_module(_dotted(source.module, source.name), relative_to=index.file)
                if submodule is not None:
                    self._add(_Unit(str(submodule), _IMPORT))
                elif file is not None:
                    self._reach(file, ("__getattr__",))  # it makes the name

    def _is_pipeline(self, index: ModuleIndex, name: str) -> bool:
        """Whether a name is bound to a `@pipeline` function of this module, or of one that it is imported from."""
        if name in index.pipelines:
            return True
        for binding in index.bindings.get(name, ()):
            if binding.source is not None and binding.source.name is not None:
                module = find_module(binding.source.module, relative_to=index.file)
                if module is not None and module != index.file:
                    return binding.source.name in self._snapshot.index(module).pipelines
        return False

    def _reference(self, index: ModuleIndex, reference: Reference) -> None:
        """Follow a reference from a module: to an import, or to a name that is bound there or star-imported."""
        if reference.source is not None and reference.names == IMPORT_ONLY:
            if not _is_library(reference.source.module):
                self._enter(reference.source, index)
        elif reference.source is not None:
            self._import(index, reference.source, reference.names)
        elif reference.names[0] == "*":
            self._add(_Unit(str(index.file), "*"))
        else:
            self._name(index, reference.names)

    def _name(self, index: ModuleIndex, names: tuple[str, ...]) -> None:
        """Follow `a.b.c` from a module: `a` is bound there, comes from a star import, or is a builtin."""
        if (index.file, names, self._importing) in self._followed:
            return
        self._followed.add((index.file, names, self._importing))
        bindings = index.bindings.get(names[0])
        if bindings is None:
            if names[0] in _COMPUTED_IMPORTS:
                self._computed(index, names[0])
            for star in index.stars:
                module = find_module(star, relative_to=index.file)
                if module is not None and self._reach(module, names):
                    self._add(_Unit(str(index.file), names[0]))
                    return
            for star in index.stars:  # of a package whose `__all__` names its modules
                submodule = find_module(_dotted(star, names[0]), relative_to=index.file)
                if submodule is not None:
                    self._reach_in_module(_dotted(star, names[0]), submodule, names[1:], index)
            return
        if names[0] in index.pipelines:
            return  # a step runs no pipeline
        self._add(_Unit(str(index.file), names[0]))
        for binding in bindings:
            if binding.source is not None:
                self._import(index, binding.source, names[1:])

    def _import(self, index: ModuleIndex, source: Import, rest: tuple[str, ...]) -> None:
        """Follow an import, and the names after it, to the project's file that defines them, if there is one."""
        if source.module.partition(".")[0] in sys.stdlib_module_names:
            for name in _COMPUTED_IMPORTS.intersection((source.name or "", *rest)):
                self._computed(index, name)
        if _is_library(source.module):
            return
        self._enter(source, index)
        module = find_module(source.module, relative_to=index.file)
        if source.name is None:
            self._reach_in_module(source.module, module, rest, index)
            return
        # A package's own `from . import module` takes the module, not the name that the statement binds to it.
        if module is not None and module != index.file and self._reach(module, (source.name, *rest)):
            return
        dotted = _dotted(source.module, source.name)
        submodule = find_module(dotted, relative_to=index.file)
        if submodule is not None:
            self._reach_in_module(dotted, submodule, rest, index)
        elif module is not None:
            # The module makes the name at run time: `__getattr__`, `globals()[...]`.
            self._add(_Unit(str(module), "*"))

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
            self._add(_Unit(str(submodule), _IMPORT))
            self._reach_in_module(_dotted(name, rest[0]), submodule, rest[1:], index)
        elif module is not None:
            self._add(_Unit(str(module), "*"))
        elif len(rest) > 1:  # a package without a file of its own
            self._reach_in_module(_dotted(name, rest[0]), None, rest[1:], index)

    def _reach(self, module: Path, names: tuple[str, ...], passed: frozenset[Path] = frozenset()) -> bool:
        """Follow names into a project's module; return false if the module's text doesn't bind the first."""
        index = self._snapshot.index(module)
        if names[0] in index.bindings:
            self._name(index, names)
            return True
        if "*" in names[0] and (matches := fnmatch.filter(index.bindings, names[0])):
            for name in matches:
                self._name(index, (name,))
            return True
        for star in index.stars:
            deeper = find_module(star, relative_to=index.file)
            if deeper is not None and deeper not in passed and self._reach(deeper, names, passed | {module}):
                return True
        return False


def _extends_registry(index: ModuleIndex) -> bool:
    """Whether a class in a module has a base in a library that may keep a list of its subclasses."""
    return any(
        keeps_subclasses(module, name) and find_module(module, relative_to=index.file) is None
        for module, name in index.bases
    )


def _is_library(name: str) -> bool:
    """Whether the top package of an absolute module name is loaded, and no part of the project."""
    if name.startswith("."):
        return False
    top = name.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None or top in sys.stdlib_module_names:
        return top in sys.builtin_module_names
    return not is_project_file(Path(file))


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
