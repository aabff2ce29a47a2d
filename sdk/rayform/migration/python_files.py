"""Rewrites Python code with LibCST: everything but the changed names stays as it was, down to the last blank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor, RemoveImportsVisitor
from libcst.metadata import MetadataWrapper, PositionProvider

from rayform.migration.findings import FileResult, Finding, UnreadableFileError
from rayform.migration.names import Home, home_of, module_of, why_missing
from rayform.migration.python_settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["rewrite_python"]

_REQUIREMENT = re.compile(r"\s*zenml\s*(\[[^\]]*\])?\s*([<>=!~].*|;.*)?", re.IGNORECASE)
_LISTS_OF_IMAGES = ("requirements", "required_packages")
_LISTS_OF_PROJECTS = ("install_requires", "extras_require", "tests_require", "setup_requires")
_NO_EFFECT = {
    "experiment_tracker": "MLflow works as before; for another tracker, call its own API in the step.",
    "step_operator": "Rayform has no step operators: `resources=` and the stack decide where a step runs.",
    "schedule": "Rayform has no schedules: let cron, a systemd timer or CI call `rayform run`.",
}
_DECORATORS = ("step", "pipeline", "with_options", "configure")
_BUILT_IN = frozenset(
    ("str", "int", "float", "bool", "bytes", "list", "dict", "tuple", "set", "DataFrame", "Series", "ndarray")
)


def rewrite_python(content: bytes) -> FileResult:
    """Return a Python file with ZenML's names replaced, and the places that need a human.

    Args:
        content: the file; its encoding, newlines and layout are kept.

    Raises:
        UnreadableFileError: it isn't valid Python.
    """
    if b"zenml" not in content.lower():
        return FileResult()
    module = parse(content)
    context = CodemodContext()
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    names = _ImportedNames()
    module.visit(names)
    rewriter = _Rewriter(names.homes, Settings(context, names.homes))
    tree = wrapper.visit(rewriter)
    if rewriter.settings.changed:
        tree = AddImportsVisitor(context).transform_module(tree)
        tree = RemoveImportsVisitor(context).transform_module(tree)
    new = tree.bytes
    findings = sorted(set(rewriter.findings))
    if new == content:
        return FileResult(findings=findings)
    parse(new)  # what is written can be read again
    return FileResult(new, findings)


def parse(content: bytes) -> cst.Module:
    """Return the tree of a Python file.

    Raises:
        UnreadableFileError: it isn't valid Python, or its tree isn't the same file again.
    """
    try:
        module = cst.parse_module(content)
    except cst.ParserSyntaxError as error:
        raise UnreadableFileError(error.raw_line, f"It is not valid Python: {error.message}.") from None
    except (UnicodeDecodeError, LookupError, SyntaxError, ValueError) as error:
        raise UnreadableFileError(0, f"Its text can't be decoded: {error}.") from None
    except RecursionError:
        raise UnreadableFileError(0, "Its code is nested too deeply.") from None
    if module.bytes != content:
        raise UnreadableFileError(0, "Its tree doesn't give the same bytes again.")
    return module


def dotted(node: cst.BaseExpression | None) -> str:
    """Return the text of a name with dots; empty for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr.value}" if before else ""
    return ""


def _is_zenml(module: str) -> bool:
    return module == "zenml" or module.startswith("zenml.")


def _expression(name: str) -> Any:
    return cst.parse_expression(name)


class _ImportedNames(cst.CSTVisitor):
    """Finds which local names are names of ZenML."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}  # local name to `module:name`

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        module = dotted(node.module)
        if node.relative or not _is_zenml(module) or isinstance(node.names, cst.ImportStar):
            return
        for alias in node.names:
            self.homes[alias.evaluated_alias or alias.evaluated_name] = f"{module}:{alias.evaluated_name}"


class _Rewriter(cst.CSTTransformer):
    """Replaces imports and settings, and notes what needs a human.

    Args:
        homes: `module:name` of ZenML by local name.
        settings: rewrites the argument `settings=`.
    """

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, homes: Mapping[str, str], settings: Settings) -> None:
        super().__init__()
        self.homes = homes
        self.settings = settings
        self.findings: list[Finding] = []
        self._lists: list[str] = []  # names of the arguments around the current place that hold requirements

    def _note(self, node: cst.CSTNode, what: str, why: str) -> None:
        place: Any = self.get_metadata(PositionProvider, node)
        self.findings.append(Finding(place.start.line, what, why))

    # -- imports ------------------------------------------------------------------------------------------
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> Any:
        """Replace the imports of one line; they become several lines if they have several new homes."""
        statements: list[cst.BaseSmallStatement] = []
        changed = False
        for before, statement in zip(original_node.body, updated_node.body, strict=True):
            new = [statement]
            if isinstance(before, cst.ImportFrom) and isinstance(statement, cst.ImportFrom):
                new = self._imports_from(before, statement)
            elif isinstance(before, cst.Import) and isinstance(statement, cst.Import):
                new = self._imports(before, statement)
            changed = changed or new != [statement]
            statements += new
        if not changed:
            return updated_node
        if len(updated_node.body) > 1 or len(statements) == 1:
            return updated_node.with_changes(body=_joined(statements))
        lines = [updated_node.with_changes(body=[statement]) for statement in statements]
        return cst.FlattenSentinel([lines[0], *(line.with_changes(leading_lines=[]) for line in lines[1:])])

    def _imports_from(self, before: cst.ImportFrom, node: cst.ImportFrom) -> list[cst.BaseSmallStatement]:
        module = dotted(node.module)
        if node.relative or not _is_zenml(module):
            return [node]
        if isinstance(node.names, cst.ImportStar):
            why = "Name what you use: `from rayform import step, pipeline`."
            self._note(before, f"from {module} import *", why)
            return [node]
        groups: dict[str, list[cst.ImportAlias]] = {}
        for alias in node.names:
            name = alias.evaluated_name
            home = home_of(module, name)
            if home is None:
                self._note(before, f"from {module} import {name}", why_missing(module, name))
                groups.setdefault(module, []).append(alias)
            else:
                groups.setdefault(home.module, []).append(_renamed(alias, home))
        # What stays as it was keeps the line's place; the first of the others takes it if nothing stays.
        statements: list[cst.BaseSmallStatement] = []
        for number, (target, aliases) in enumerate(groups.items()):
            whole = len(groups) == 1
            new = node.with_changes(
                module=node.module if target == module else _expression(target),
                names=aliases if whole else _trimmed(aliases),
                semicolon=node.semicolon if whole or number == len(groups) - 1 else cst.MaybeSentinel.DEFAULT,
            )
            if not whole:
                new = _on_one_line(new)
            statements.append(new)
        if list(groups) == [module]:
            return [node]
        return statements

    def _imports(self, before: cst.Import, node: cst.Import) -> list[cst.BaseSmallStatement]:
        aliases: list[cst.ImportAlias] = []
        changed = False
        for alias in node.names:
            name = alias.evaluated_name
            if not _is_zenml(name):
                aliases.append(alias)
                continue
            target = module_of(name)
            if target is None or (alias.asname is None and name != "zenml"):
                why = why_missing(name) if target is None else f"Write `import {target} as NAME`."
                self._note(before, f"import {name}", why)
                aliases.append(alias)
                continue
            changed = True
            asname = alias.asname or cst.AsName(
                cst.Name("zenml"), cst.SimpleWhitespace(" "), cst.SimpleWhitespace(" ")
            )
            aliases.append(alias.with_changes(name=_expression(target), asname=asname))
        return [node.with_changes(names=aliases)] if changed else [node]

    # -- settings, decorators and requirements ------------------------------------------------------------
    def visit_Arg(self, node: cst.Arg) -> None:
        keyword = node.keyword.value if node.keyword is not None else ""
        if keyword in (*_LISTS_OF_IMAGES, *_LISTS_OF_PROJECTS):
            self._lists.append(keyword)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        keyword = original_node.keyword.value if original_node.keyword is not None else ""
        if keyword in (*_LISTS_OF_IMAGES, *_LISTS_OF_PROJECTS):
            self._lists.pop()
        return updated_node

    def leave_List(self, original_node: cst.List, updated_node: cst.List) -> cst.List:
        """Replace the requirement `zenml` of a project, and remove it from that of an image."""
        if not self._lists:
            return updated_node
        elements = []
        for element in updated_node.elements:
            text = _text_of(element.value)
            if text is None or not _REQUIREMENT.fullmatch(text):
                elements.append(element)
            elif self._lists[-1] in _LISTS_OF_PROJECTS:
                assert isinstance(element.value, cst.SimpleString)
                quote = element.value.quote
                elements.append(
                    element.with_changes(value=element.value.with_changes(value=f"{quote}rayform{quote}"))
                )
        if len(elements) == len(updated_node.elements):
            return updated_node.with_changes(elements=elements)
        if elements:
            elements[-1] = elements[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(elements=elements)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        function = original_node.func
        name = function.attr.value if isinstance(function, cst.Attribute) else dotted(function)
        origin = self.homes.get(name, "")
        if origin.rpartition(":")[2] not in ("step", "pipeline") and name not in _DECORATORS:
            return updated_node
        for argument in original_node.args:
            keyword = argument.keyword.value if argument.keyword is not None else ""
            if keyword in _NO_EFFECT and _text_of(argument.value) != "" and dotted(argument.value) != "None":
                self._note(argument, f"{keyword}=", _NO_EFFECT[keyword])
        call, notes = self.settings.rewritten(updated_node)
        for note in notes:
            self._note(original_node, *note)
        return call

    # -- what only a human can decide ---------------------------------------------------------------------
    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        bases = [dotted(base.value) for base in node.bases]
        if not any(self.homes.get(base, base).endswith("Materializer") for base in bases):
            return
        for statement in node.body.body:
            for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else [statement]:
                if isinstance(small, cst.Assign | cst.AnnAssign) and small.value is not None:
                    self._check_types(node, small)

    def _check_types(self, node: cst.ClassDef, assignment: cst.Assign | cst.AnnAssign) -> None:
        targets = (
            [t.target for t in assignment.targets]
            if isinstance(assignment, cst.Assign)
            else [assignment.target]
        )
        if not any(dotted(target) == "ASSOCIATED_TYPES" for target in targets):
            return
        value = assignment.value
        elements = value.elements if isinstance(value, cst.Tuple | cst.List) else []
        for element in elements:
            kind = dotted(element.value)
            if kind.rpartition(".")[2] in _BUILT_IN:
                self._note(
                    assignment,
                    f"{node.name.value}: ASSOCIATED_TYPES has `{kind}`",
                    "Rayform stores this type itself, and a materializer doesn't replace that for all steps. Choose "
                    "the materializer where you want it: `@step(output_materializers=...)`.",
                )

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = _text_of(node)
        if text is not None and re.fullmatch(r"zenml(\.\w+)+", text):
            module, _, name = text.rpartition(".")
            home = home_of(module, name)
            instead = f"In Rayform it is `{home}`." if home is not None else why_missing(module, name)
            self._note(node, f"the text {text!r}", f"It names a module or class of ZenML. {instead}")


def _text_of(node: cst.BaseExpression) -> str | None:
    if isinstance(node, cst.SimpleString):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def _renamed(alias: cst.ImportAlias, home: Home) -> cst.ImportAlias:
    """Return an imported name under its new name; the code goes on using the old one."""
    if home.name == alias.evaluated_name:
        return alias
    asname = alias.asname or cst.AsName(
        cst.Name(alias.evaluated_name), cst.SimpleWhitespace(" "), cst.SimpleWhitespace(" ")
    )
    return alias.with_changes(name=cst.Name(home.name), asname=asname)


def _trimmed(aliases: Sequence[cst.ImportAlias]) -> list[cst.ImportAlias]:
    """Return names for a line of their own."""
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    last = len(aliases) - 1
    return [
        alias.with_changes(comma=comma if i < last else cst.MaybeSentinel.DEFAULT)
        for i, alias in enumerate(aliases)
    ]


def _on_one_line(node: cst.ImportFrom) -> cst.ImportFrom:
    return node.with_changes(lpar=None, rpar=None, whitespace_after_import=cst.SimpleWhitespace(" "))


def _joined(statements: Sequence[cst.BaseSmallStatement]) -> list[cst.BaseSmallStatement]:
    """Return statements that stand on one line."""
    semicolon = cst.Semicolon(whitespace_after=cst.SimpleWhitespace(" "))
    return [
        s.with_changes(semicolon=semicolon)
        if i < len(statements) - 1 and isinstance(s.semicolon, cst.MaybeSentinel)
        else s
        for i, s in enumerate(statements)
    ]
