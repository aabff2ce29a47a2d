"""What a project's file binds at its top level, what its import runs, and which names each statement refers to."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rayform_runtime.usercode.index_cache import IndexCache
from rayform_runtime.usercode.references import (
    Import,
    Reference,
    dotted_name,
    is_main_guard,
    is_type_checking,
    may_be_skipped,
    outside_lambdas,
    references_of,
    targets_of,
)

__all__ = [
    "Binding",
    "FileStamp",
    "ImportTimeStatement",
    "ModuleIndex",
    "file_stamp",
    "index_module",
    "save_indexes",
]

FileStamp = tuple[int, int]
"""Changes whenever a file is written; only good for comparing."""


@dataclass(slots=True)
class Binding:
    """One statement that binds (or changes) a name at a module's top level.

    Args:
        text: a hash of the statement, without layout and comments.
        references: the names that the statement uses.
        source: what it imports, if it is an import.
    """

    text: str
    references: frozenset[Reference]
    source: Import | None = None


@dataclass(slots=True)
class ImportTimeStatement:
    """Code that runs when the module is imported: a statement at its top level or in the body of a class there.

    Args:
        text: a hash of the statement, without layout, comments and the bodies of functions.
        references: the names that the statement uses.
        calls: the first names of what it calls.
        makes: the names that it binds to what a method such as `with_options` returns.
        is_certain: whether each import runs it, whatever conditions and loops around it do.
    """

    text: str
    references: frozenset[Reference]
    calls: frozenset[str]
    makes: frozenset[str] = frozenset()
    is_certain: bool = True


@dataclass
class ModuleIndex:
    """A parsed file.

    Args:
        file: its path.
        label: its name in digests: its path from the folder of the topmost package that it is in.
        whole: a hash of all of its code.
        bindings: the statements that bind each name.
        stars: the modules of its star imports.
        loose_references: the names that all statements together use.
        import_time: the statements that its import runs, in order.
        imports: what its import imports.
        registered: functions and classes with a decorator that may keep them; whoever has the registry can call them.
        subclasses: classes with bases; a base with a hook may keep them in the same way. `*` for a nested one.
        bases: where the bases of its classes are imported from: module and name.
        has_class_hooks: whether it has a metaclass, `__init_subclass__` or `__subclasses__`.
        pipelines: the names of its `@pipeline` functions.
        digests: digests of names that were asked for.
    """

    file: Path
    label: str
    whole: str
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    loose_references: set[Reference] = field(default_factory=set)
    import_time: list[ImportTimeStatement] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    registered: set[str] = field(default_factory=set)
    subclasses: set[str] = field(default_factory=set)
    bases: set[tuple[str, str]] = field(default_factory=set)
    has_class_hooks: bool = False
    pipelines: set[str] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)

    def digest_of(self, name: str) -> str:
        """Return the digest of the statements that bind or change a name."""
        digest = self.digests.get(name)
        if digest is None:
            texts = repr([binding.text for binding in self.bindings.get(name, ())])
            digest = self.digests[name] = hashlib.blake2b(texts.encode(), digest_size=10).hexdigest()
        return digest


class _Indexed(NamedTuple):
    stamp: FileStamp
    module: ModuleIndex


_indexes: dict[Path, _Indexed] = {}
"""Files that this process has parsed."""
_cache = IndexCache()


def file_stamp(file: str | Path) -> FileStamp:
    """Return the stamp of a file; the same for all files that can't be found."""
    try:
        status = os.stat(file)  # noqa: PTH116 - called for each file of each step
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def index_module(file: Path) -> ModuleIndex:
    """Return the index of a file; the file is parsed only if this machine has no index of it as it is now."""
    stamp = file_stamp(file)
    indexed = _indexes.get(file)
    if indexed is None or indexed.stamp != stamp:
        entry = _cache.get(file, stamp)
        module = _restored(file, entry) if entry is not None else None
        if module is None:
            module = _parse(file)
            _cache.put(file, stamp, _entry_of(module))
        indexed = _indexes[file] = _Indexed(stamp, module)
    return indexed.module


def save_indexes() -> None:
    """Keep the indexes that this process made for the next one."""
    _cache.save()


# A reference is `(names, source)`, an import `(module, name)`: marshal knows no named tuples.
def _plain(references: Iterable[Reference]) -> list[tuple[object, ...]]:
    return [(tuple(r.names), None if r.source is None else tuple(r.source)) for r in references]


def _entry_of(index: ModuleIndex) -> object:
    """Return what the cache keeps of an index; its hashes and labels hold wherever the file lies in the project."""
    bindings = {
        name: [(b.text, _plain(b.references), None if b.source is None else tuple(b.source)) for b in group]
        for name, group in index.bindings.items()
    }
    import_time = [
        (s.text, _plain(s.references), list(s.calls), list(s.makes), s.is_certain) for s in index.import_time
    ]
    return (
        index.label, index.whole, bindings, index.stars, _plain(index.loose_references), import_time,
        [tuple(source) for source in index.imports], list(index.registered), list(index.subclasses),
        index.has_class_hooks, list(index.pipelines), list(index.bases),
    )  # fmt: skip


def _restored(file: Path, entry: Any) -> ModuleIndex | None:
    """Return the index that an entry was made of, or `None` if the entry is damaged or the file has moved."""

    def references(plain: Any) -> frozenset[Reference]:
        return frozenset(
            Reference(names, None if source is None else Import(*source)) for names, source in plain
        )

    try:
        label, whole, bindings, stars, loose, statements, imports, registered, subclasses, *rest = entry
        hooks, pipelines, bases = rest
        index = ModuleIndex(
            file, label, whole,
            {
                name: [Binding(t, references(r), None if s is None else Import(*s)) for t, r, s in group]
                for name, group in bindings.items()
            },
            stars, set(references(loose)),
            [ImportTimeStatement(t, references(r), frozenset(c), frozenset(m), e) for t, r, c, m, e in statements],
            [Import(*source) for source in imports], set(registered), set(subclasses), set(bases), hooks,
            set(pipelines),
        )  # fmt: skip
    except (TypeError, ValueError, AttributeError):
        return None
    return index if label == _label(file) else None


def _parse(file: Path) -> ModuleIndex:
    try:
        source = file.read_bytes()
    except OSError:
        source = b""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # A notebook saved as a file, or another Python's syntax: all of it counts, and no name is followed.
        text = hashlib.blake2b(source).hexdigest()
        statement = ImportTimeStatement(text, frozenset(), frozenset())
        return ModuleIndex(file, file.stem, text, import_time=[statement])
    index = ModuleIndex(file, _label(file), "")
    _Indexer(index).run(tree.body, guards=())
    _ImportTime(index).run(tree.body)
    index.whole = _text(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "__subclasses__":
            index.has_class_hooks = True
    return index


def _label(file: Path) -> str:
    """Return a file's path from the folder of the topmost package that it is in."""
    parts = [file.name]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.name:
        parts.append(folder.name)
        folder = folder.parent
    return "/".join(reversed(parts))


def _text(node: ast.AST) -> str:
    return hashlib.blake2b(ast.dump(node).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


_INERT = frozenset(
    {
        ("rayform", "step"),
        ("rayform", "pipeline"),
        ("dataclasses", "dataclass"),
        ("contextlib", "contextmanager"),
        ("contextlib", "asynccontextmanager"),
        ("functools", "cache"),
        ("functools", "lru_cache"),
        ("functools", "cached_property"),
        ("functools", "total_ordering"),
        ("functools", "wraps"),
        ("abc", "abstractmethod"),
        ("typing", "final"),
        ("typing", "overload"),
        ("typing", "override"),
    }
)
"""Decorators that keep no function for anybody else to call."""
_INERT_BUILTINS = frozenset({"property", "staticmethod", "classmethod"})
_VARIANTS = frozenset({"with_options", "configure"})
"""Methods of a pipeline that make another one and run none."""
_PROPERTY_PARTS = frozenset({"setter", "getter", "deleter"})


class _ImportTime:
    """Collects what an import of a module runs.

    A function's definition doesn't run its body. It runs its defaults and decorators, and a decorator that isn't known
    to be inert may put the function into a registry.
    """

    def __init__(self, index: ModuleIndex) -> None:
        self.index = index
        self.is_certain = True  # false in a block that an import may skip

    def maybe(self, statements: list[ast.stmt]) -> None:
        """Collect from a block that an import may skip."""
        before, self.is_certain = self.is_certain, False
        self.run(statements)
        self.is_certain = before

    def run(self, statements: list[ast.stmt]) -> None:
        """Collect from the top level, or from a block of it."""
        for node in statements:
            if isinstance(node, ast.Import):
                self.index.imports += [Import(alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                self.index.imports += [
                    Import(module, None if alias.name == "*" else alias.name) for alias in node.names
                ]
            elif isinstance(node, ast.If):
                if not is_main_guard(node.test) and not is_type_checking(node.test):
                    self.add(node.test)
                    self.maybe(node.body)
                self.maybe(node.orelse)
            elif isinstance(node, ast.Try | ast.TryStar):
                self.run(node.body)
                self.maybe([*(s for handler in node.handlers for s in handler.body), *node.orelse])
                self.run(node.finalbody)
            elif isinstance(node, ast.With):
                for item in node.items:
                    self.add(item.context_expr)
                self.run(node.body)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.function(node, top=True)
            elif isinstance(node, ast.ClassDef):
                self.class_(node, top=True)
            else:
                self.plain(node)

    def plain(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        makes: set[str] = set()
        value = node.value if isinstance(node, ast.Assign) else None
        if (
            isinstance(node, ast.Assign)
            and isinstance(value, ast.Call)
            and getattr(value.func, "attr", "") in _VARIANTS
        ):
            makes = set().union(*map(targets_of, node.targets))
        self.add(node, makes)

    def add(self, node: ast.AST, makes: Iterable[str] = ()) -> None:
        calls = {
            chain[0]
            for inner in outside_lambdas(node)
            if isinstance(inner, ast.Call)
            for chain in [dotted_name(inner.func)]
            if chain
        }
        self.index.import_time.append(
            ImportTimeStatement(
                *(_text(node), frozenset(references_of(node)), frozenset(calls), frozenset(makes)),
                self.is_certain and not may_be_skipped(node),
            )
        )

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, *, top: bool) -> None:
        for decorator in node.decorator_list:
            self.decorator(node.name, decorator, top=top)
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.add(default)

    def class_(self, node: ast.ClassDef, *, top: bool) -> None:
        for decorator in node.decorator_list:
            self.decorator(node.name, decorator, top=top)
        if node.bases or node.keywords:
            self.index.subclasses.add(node.name if top else "*")
        bases = [getattr(b, "value", b) if isinstance(b, ast.Subscript) else b for b in node.bases]
        targets = {target for target in map(self.target, bases) if target is not None and target[0]}
        self.index.bases |= targets
        if any(target[0].partition(".")[0] == "rayform" for target in targets):
            self.index.registered.add(
                node.name if top else "*"
            )  # a materializer enters Rayform's own registry
        if any(keyword.arg == "metaclass" for keyword in node.keywords):
            self.index.has_class_hooks = True
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                if inner.name == "__init_subclass__":
                    self.index.has_class_hooks = True
                self.function(inner, top=False)
                if any(not self.is_inert(d) for d in inner.decorator_list):
                    self.index.registered.add(node.name if top else "*")
            elif isinstance(inner, ast.ClassDef):
                self.class_(inner, top=False)
            elif not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant)):
                self.add(inner)

    def decorator(self, name: str, decorator: ast.expr, *, top: bool) -> None:
        if self.is_inert(decorator):
            if top and self.target(decorator) == ("rayform", "pipeline"):
                self.index.pipelines.add(name)
            return
        self.add(decorator)
        if top:
            self.index.registered.add(name)

    def is_inert(self, decorator: ast.expr) -> bool:
        target = self.target(decorator)
        if target is None:
            return False
        return (
            target in _INERT
            or (target[0] == "" and target[1] in _INERT_BUILTINS)
            or target[1] in _PROPERTY_PARTS
        )

    def target(self, decorator: ast.expr) -> tuple[str, str] | None:
        """Return the module and the name that a decorator comes from; a builtin's module is empty."""
        chain = dotted_name(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if not chain:
            return None
        binding = next(iter(self.index.bindings.get(chain[0], ())), None)
        if binding is None:
            return ("", chain[0]) if len(chain) == 1 else None
        if len(chain) == 2 and chain[1] in _PROPERTY_PARTS:
            return ("", chain[1])  # `@name.setter` of a property
        if binding.source is None:
            return None
        module, name = binding.source
        parts = (*module.split("."), *((name,) if name else ()), *chain[1:])
        return ".".join(parts[:-1]), parts[-1]


class _Indexer:
    """Walks a module's top-level statements."""

    def __init__(self, index: ModuleIndex) -> None:
        self.index = index

    def run(self, statements: list[ast.stmt], *, guards: tuple[ast.expr, ...]) -> None:
        for statement in statements:
            self.statement(statement, guards)

    def statement(self, node: ast.stmt, guards: tuple[ast.expr, ...]) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imported(node)
        elif isinstance(node, ast.If):
            body = [] if is_main_guard(node.test) else node.body
            self.run([*body, *node.orelse], guards=(*guards, node.test))
        elif isinstance(node, ast.Try | ast.TryStar):
            handlers = [s for handler in node.handlers for s in handler.body]
            self.run([*node.body, *handlers, *node.orelse, *node.finalbody], guards=guards)
        elif isinstance(node, ast.With):
            self.run(node.body, guards=(*guards, *(item.context_expr for item in node.items)))
            for item in node.items:
                if item.optional_vars is not None:
                    self.bind(targets_of(item.optional_vars), node, guards)
        else:
            self.bind(_bound_names(node), node, guards)
            if isinstance(node, ast.For | ast.While | ast.Match):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Import | ast.ImportFrom):
                        self.imported(inner)

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` binds `a`, and references such as `a.b.c` are followed from there.
                name, module = (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
                self.add(name, Binding(f"import {module}", frozenset(), Import(module)))
            return
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self.index.stars.append(module)
            else:
                text = f"from {module} import {alias.name}"
                self.add(alias.asname or alias.name, Binding(text, frozenset(), Import(module, alias.name)))

    def bind(self, names: set[str], node: ast.stmt, guards: tuple[ast.expr, ...]) -> None:
        references = frozenset(references_of(node).union(*(references_of(g) for g in guards)))
        self.index.loose_references |= references
        if names:
            binding = Binding("|".join([*map(_text, guards), _text(node)]), references)
            for name in names:
                self.add(name, binding)

    def add(self, name: str, binding: Binding) -> None:
        self.index.bindings.setdefault(name, []).append(binding)


def _bound_names(node: ast.stmt) -> set[str]:
    """Return the names whose value depends on this top-level statement."""
    names: set[str] = set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names.add(node.name)
        for decorator in node.decorator_list:
            # `@REGISTRY.register`: the content of REGISTRY depends on this function.
            inner = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(inner, ast.Attribute):
                names |= targets_of(inner)
        return names
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            names |= targets_of(node.value.func)  # `CONFIG.update(...)`
        elif (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in ("setattr", "delattr")
            and node.value.args
        ):
            names |= targets_of(node.value.args[0])
    for inner_node in ast.walk(node):
        if isinstance(inner_node, ast.Assign | ast.Delete):
            for target in inner_node.targets:
                names |= targets_of(target)
        elif isinstance(inner_node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(inner_node.name)
        elif isinstance(inner_node, ast.AugAssign | ast.AnnAssign | ast.For | ast.NamedExpr):
            names |= targets_of(inner_node.target)
        elif type(inner_node).__name__ == "TypeAlias":
            names |= targets_of(inner_node.name)  # type: ignore[attr-defined]
    return names
