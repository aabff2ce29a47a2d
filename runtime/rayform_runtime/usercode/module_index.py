"""Which names a project's file binds at its top level, and which names each of these statements refers to."""

from __future__ import annotations

import ast
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["Binding", "FileStamp", "Import", "ModuleIndex", "Reference", "file_stamp", "index_module"]

FileStamp = tuple[int, int]
"""Changes whenever a file is written; only good for comparing."""


class Import(NamedTuple):
    """What an import statement takes: a module (leading dots are relative), and a name in it unless it is all of it."""

    module: str
    name: str | None = None


class Reference(NamedTuple):
    """A dotted name in code, `a.b.c`; the single name `*` stands for the whole module.

    If a function imports `a` by itself, `source` is that import and `names` is what follows, `b.c`.
    """

    names: tuple[str, ...]
    source: Import | None = None


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


@dataclass
class ModuleIndex:
    """A parsed file.

    Args:
        file: its path.
        label: its name in digests.
        whole: a hash of all of its code.
        bindings: the statements that bind each name.
        stars: the modules of its star imports.
        loose_references: the names that all statements together use.
    """

    file: Path
    label: str
    whole: str
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    loose_references: set[Reference] = field(default_factory=set)


class _Indexed(NamedTuple):
    stamp: FileStamp
    module: ModuleIndex


_indexes: dict[Path, _Indexed] = {}
"""Files that this process has parsed."""


def file_stamp(file: str | Path) -> FileStamp:
    """Return the stamp of a file; the same for all files that can't be found."""
    try:
        status = os.stat(file)  # noqa: PTH116 - called for each file of each step
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def index_module(file: Path) -> ModuleIndex:
    """Return the index of a file; the file is parsed again only if it has changed."""
    stamp = file_stamp(file)
    indexed = _indexes.get(file)
    if indexed is None or indexed.stamp != stamp:
        indexed = _indexes[file] = _Indexed(stamp, _parse(file))
    return indexed.module


def _parse(file: Path) -> ModuleIndex:
    try:
        source = file.read_bytes()
    except OSError:
        source = b""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # A notebook saved as a file, or another Python's syntax: all of it counts, and no name is followed.
        return ModuleIndex(file, file.stem, hashlib.blake2b(source).hexdigest())
    index = ModuleIndex(file, _label(file), "")
    _Indexer(index).run(tree.body, guards=())
    index.whole = _text(tree)
    return index


def _label(file: Path) -> str:
    """Return a file's dotted path from the topmost package that it is in."""
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.name:
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts)) or file.parent.name


def _text(node: ast.AST) -> str:
    return hashlib.blake2b(ast.dump(node).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


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
            if not _is_main_guard(node.test):
                self.run([*node.body, *node.orelse], guards=(*guards, node.test))
        elif isinstance(node, ast.Try | ast.TryStar):
            handlers = [s for handler in node.handlers for s in handler.body]
            self.run([*node.body, *handlers, *node.orelse, *node.finalbody], guards=guards)
        elif isinstance(node, ast.With):
            self.run(node.body, guards=(*guards, *(item.context_expr for item in node.items)))
            for item in node.items:
                if item.optional_vars is not None:
                    self.bind(_targets(item.optional_vars), node, guards)
        else:
            self.bind(_bound_names(node), node, guards)

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
        references = frozenset(_references(node).union(*(_references(g) for g in guards)))
        self.index.loose_references |= references
        if names:
            binding = Binding("|".join([*map(_text, guards), _text(node)]), references)
            for name in names:
                self.add(name, binding)

    def add(self, name: str, binding: Binding) -> None:
        self.index.bindings.setdefault(name, []).append(binding)


def _targets(node: ast.AST) -> set[str]:
    """Return the names that assigning to `node` binds or changes (`a`, `a.b = …`, `a[0] = …`, `a, *b`)."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        return _targets(node.value)
    if isinstance(node, ast.Tuple | ast.List):
        return set().union(*(_targets(e) for e in node.elts))
    return set()


def _bound_names(node: ast.stmt) -> set[str]:
    """Return the names whose value depends on this top-level statement."""
    names: set[str] = set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names.add(node.name)
        for decorator in node.decorator_list:
            # `@REGISTRY.register`: the content of REGISTRY depends on this function.
            inner = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(inner, ast.Attribute):
                names |= _targets(inner)
        return names
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            names |= _targets(node.value.func)  # `CONFIG.update(...)`
        elif (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in ("setattr", "delattr")
            and node.value.args
        ):
            names |= _targets(node.value.args[0])
    for inner_node in ast.walk(node):
        if isinstance(inner_node, ast.Assign | ast.Delete):
            for target in inner_node.targets:
                names |= _targets(target)
        elif isinstance(inner_node, ast.AugAssign | ast.AnnAssign | ast.For | ast.NamedExpr):
            names |= _targets(inner_node.target)
        elif type(inner_node).__name__ == "TypeAlias":
            names |= _targets(inner_node.name)  # type: ignore[attr-defined]
    return names


_WHOLE_MODULE_CALLS = frozenset({"globals", "eval", "exec", "vars", "locals"})
_IMPORT_CALLS = frozenset({"import_module", "__import__"})


def _references(node: ast.AST) -> set[Reference]:
    """Return the names that `node` takes from outside of itself."""
    visitor = _ReferenceVisitor()
    visitor.visit(node)
    return visitor.references


class _ReferenceVisitor(ast.NodeVisitor):
    """Collects names that a statement reads and doesn't bind itself, by Python's rules of scope."""

    def __init__(self) -> None:
        self.references: set[Reference] = set()
        self.scopes: list[dict[str, Import | None]] = []
        """Names that the enclosing functions bind, the innermost last; with the import, for names that are imported."""

    def use(self, first: str, *rest: str) -> None:
        for scope in reversed(self.scopes):
            if first in scope:
                source = scope[first]
                if source is not None:
                    self.references.add(Reference(rest, source))
                return
        self.references.add(Reference((first, *rest)))

    def visit_Name(self, node: ast.Name) -> None:
        self.use(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = [node.attr]
        inner: ast.expr = node.value
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self.use(inner.id, *reversed(chain))
        else:
            self.visit(inner)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if (
            isinstance(node.func, ast.Name)
            and name in _WHOLE_MODULE_CALLS
            and (name != "vars" or not node.args)
        ):
            self.references.add(Reference(("*",)))
        if name in _IMPORT_CALLS and node.args and isinstance(node.args[0], ast.Constant):
            self.references.add(Reference((), Import(str(node.args[0].value))))
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if any(alias.name == "*" for alias in node.names):
            self.references.add(Reference((), Import("." * node.level + (node.module or ""))))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.function(node)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outside in [*node.decorator_list, node.returns, *node.args.defaults, *node.args.kw_defaults]:
            if outside is not None:
                self.visit(outside)
        arguments = _all_arguments(node.args)
        for argument in arguments:
            if argument.annotation is not None:
                self.visit(argument.annotation)
        self.scopes.append({**dict.fromkeys(a.arg for a in arguments), **_local_names(node.body)})
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        self.scopes.append(dict.fromkeys(a.arg for a in _all_arguments(node.args)))
        self.visit(node.body)
        self.scopes.pop()

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        names = set().union(*(_targets(g.target) for g in node.generators))
        self.visit(node.generators[0].iter)
        self.scopes.append(dict.fromkeys(names))
        self.generic_visit(node)
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension  # noqa: N815


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _local_names(body: list[ast.stmt]) -> dict[str, Import | None]:
    """Return the names that a function's body binds for itself; with the import, for names that it imports."""
    bound: dict[str, Import | None] = {}
    outer: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound[node.name] = None
            return
        elif isinstance(node, ast.Lambda):
            return
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                bound[name] = Import(alias.name if alias.asname else name)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                bound[alias.asname or alias.name] = Import(module, alias.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound.setdefault(node.id, None)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.setdefault(node.name, None)
        for child in ast.iter_child_nodes(node):
            walk(child)

    for statement in body:
        walk(statement)
    return {name: source for name, source in bound.items() if name not in outer}
