"""Which names a piece of code takes from outside of itself, by Python's rules of scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

__all__ = [
    "IMPORT_ONLY",
    "Import",
    "Reference",
    "dotted_name",
    "is_main_guard",
    "is_type_checking",
    "may_be_skipped",
    "outside_lambdas",
    "references_of",
    "targets_of",
]

IMPORT_ONLY = ("<import>",)
"""The names of a reference that runs an import and uses nothing of it, as `import plugins` in a function does."""


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


def targets_of(node: ast.AST) -> set[str]:
    """Return the names that assigning to `node` binds or changes (`a`, `a.b = …`, `a[0] = …`, `a, *b`)."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        return targets_of(node.value)
    if isinstance(node, ast.Tuple | ast.List):
        return set().union(*(targets_of(e) for e in node.elts))
    return set()


def dotted_name(node: ast.expr) -> tuple[str, ...]:
    """Return `("a", "b")` for `a.b`; empty where it isn't a dotted name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


_WHOLE_MODULE_CALLS = frozenset({"globals", "eval", "exec", "vars", "locals"})
_IMPORT_CALLS = frozenset({"import_module", "__import__"})
_ATTRIBUTE_CALLS = frozenset({"getattr", "hasattr"})


def _pattern(node: ast.expr) -> str | None:
    """Return what is known of a text: `"make_*"` for `f"make_{kind}"`; `None` where nothing is."""
    parts: list[ast.expr] = [node]
    if isinstance(node, ast.JoinedStr):
        parts = list(node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    texts = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else "*" for p in parts]
    pattern = "".join(texts)
    return pattern if pattern.strip("*") else None


def references_of(node: ast.AST) -> set[Reference]:
    """Return the names that `node` takes from outside of itself."""
    visitor = _ReferenceVisitor()
    visitor.visit(node)
    return visitor.references


class _ReferenceVisitor(ast.NodeVisitor):
    """Collects names that a statement reads and doesn't bind itself, by Python's rules of scope."""

    def __init__(self) -> None:
        self.references: set[Reference] = set()
        self.scopes: list[_Scope] = []
        """Names that the enclosing functions bind, the innermost last; with the imports that may bind them."""
        self.class_depth = 0
        """How many class bodies lie around the statement, up to the innermost function."""

    def use(self, first: str, *rest: str) -> None:
        for scope in reversed(self.scopes):
            if first in scope:
                self.references |= {Reference(rest, source) for source in scope[first]}
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

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if dotted_name(node.value) == ("sys", "modules"):
            if isinstance(node.slice, ast.Name) and node.slice.id == "__name__":
                self.references.add(Reference(("*",)))
            elif isinstance(node.slice, ast.Constant):
                self.references.add(Reference((), Import(str(node.slice.value))))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if (
            isinstance(node.func, ast.Name)
            and name in _WHOLE_MODULE_CALLS
            and (name != "vars" or not node.args)
        ):
            self.references.add(Reference(("*",)))
        if isinstance(node.func, ast.Name) and name in _ATTRIBUTE_CALLS and len(node.args) > 1:
            names, pattern = dotted_name(node.args[0]), _pattern(node.args[1])
            if names and pattern:
                # `getattr(module, "name")` and `getattr(module, f"make_{kind}")` take some names of a module, not all.
                self.use(*names, pattern)
                for argument in node.args[1:]:
                    self.visit(argument)
                return
        if name in _IMPORT_CALLS and node.args and isinstance(node.args[0], ast.Constant):
            self.references.add(Reference((), Import(str(node.args[0].value))))
            for argument in [*node.args[1:], *(k.value for k in node.keywords)]:
                self.visit(argument)
            return  # its name isn't computed
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imported(alias.asname or alias.name.split(".")[0], Import(alias.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self.references.add(Reference((), Import(module)))
            else:
                self.imported(alias.asname or alias.name, Import(module, alias.name))

    def imported(self, name: str, source: Import) -> None:
        # What uses a name of the module or of the innermost function follows it. For a name in a class, or one that is
        # declared global, anybody may be the user.
        is_followed = not self.class_depth and (not self.scopes or name in self.scopes[-1])
        self.references.add(Reference(IMPORT_ONLY if is_followed else (), source))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outside in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(outside)
        self.class_depth += 1
        for statement in node.body:
            self.visit(statement)
        self.class_depth -= 1

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
        self.scopes.append({**_unimported(a.arg for a in arguments), **_local_names(node.body)})
        outer_depth, self.class_depth = self.class_depth, 0
        for statement in node.body:
            self.visit(statement)
        self.class_depth = outer_depth
        self.scopes.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        self.scopes.append(_unimported(a.arg for a in _all_arguments(node.args)))
        self.visit(node.body)
        self.scopes.pop()

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        names = set().union(*(targets_of(g.target) for g in node.generators))
        self.visit(node.generators[0].iter)
        self.scopes.append(_unimported(names))
        self.generic_visit(node)
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension  # noqa: N815


_Scope: TypeAlias = "dict[str, tuple[Import, ...]]"


def _unimported(names: Iterable[str]) -> _Scope:
    return dict.fromkeys(names, ())


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _local_names(body: list[ast.stmt]) -> _Scope:
    """Return the names that a function's body binds for itself; with the imports, for names that it imports."""
    bound: _Scope = {}
    outer: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.setdefault(node.name, ())
            return
        elif isinstance(node, ast.Lambda):
            return
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                bound[name] = (*bound.get(name, ()), Import(alias.name if alias.asname else name))
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                name = alias.asname or alias.name
                bound[name] = (*bound.get(name, ()), Import(module, alias.name))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound.setdefault(node.id, ())
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.setdefault(node.name, ())
        for child in ast.iter_child_nodes(node):
            if isinstance(node, ast.comprehension) and child is node.target:
                continue  # bound in the comprehension alone
            walk(child)

    for statement in body:
        walk(statement)
    return {name: source for name, source in bound.items() if name not in outer}


def outside_lambdas(node: ast.AST) -> Iterable[ast.AST]:
    """Give a node and those inside it, but not what a `lambda` there only runs when it is called."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from outside_lambdas(child)


def may_be_skipped(node: ast.AST) -> bool:
    """Whether a statement is a loop or a choice of cases, whose body may not run; a list written there isn't empty."""
    return isinstance(node, ast.While | ast.Match) or (
        isinstance(node, ast.For) and not getattr(node.iter, "elts", ())
    )


def is_main_guard(test: ast.expr) -> bool:
    """Whether a test is `__name__ == "__main__"`; `!=` guards what an import does run."""
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
        and isinstance(test.ops[0], ast.Eq)
    )


def is_type_checking(test: ast.expr) -> bool:
    """Whether a test is `TYPE_CHECKING`, which is false when the program runs."""
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"
