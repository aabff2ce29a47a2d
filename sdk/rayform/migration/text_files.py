"""Rewrites the requirement `zenml` of projects, and finds ZenML's commands in scripts."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable

from rayform.migration.findings import FileResult, Finding, UnreadableFileError
from rayform.migration.names import COMMANDS
from rayform.migration.python_files import rewrite_python

__all__ = ["rewriter_of"]

_PIN = r"[ \t]*(?:\[[^\]\n]*\])?[ \t]*(?:[<>=!~][^\s;#\"',]*(?:[ \t]*,[ \t]*[<>=!~][^\s;#\"',]*)*)?"
_LINE = re.compile(
    rf"^(?P<before>[ \t]*(?:-[ \t]+)?)zenml{_PIN}(?P<after>[ \t]*(?:;[^\n]*|#[^\n]*)?\\?\r?)$", re.I | re.M
)
_QUOTED = re.compile(rf"(?P<quote>[\"'])zenml{_PIN}(?P<after>[ \t]*;[^\"'\n]*)?(?P=quote)", re.I)
_TABLE_ROW = re.compile(
    r"^(?P<before>[ \t]*)zenml(?P<equals>[ \t]*=[ \t]*)(?:\"[^\"\n]*\"|'[^'\n]*'|\{[^}\n]*\})", re.I | re.M
)
_TABLE = re.compile(r"^[ \t]*\[(?P<name>[^\]\n]+)\]", re.M)
_COMMAND = re.compile(r"(?<![\w./-])zenml[ \t]+(?=[a-z])")
_INSTALL = re.compile(
    r"\b(?:pip|uv|poetry|pipx|conda)\b[^\n]*\b(?:install|add)\b[^\n]*(?<![\w./-])zenml(?![\w./-])", re.I
)


def rewriter_of(name: str) -> Callable[[bytes], FileResult] | None:
    """Return what rewrites a file of this name, if it is neither Python nor YAML; `None` if nothing does."""
    lower = name.lower()
    if lower.endswith((".txt", ".in")) and ("requirement" in lower or "constraint" in lower):
        return _requirements
    if lower in ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml", "setup.cfg"):
        return _requirements
    if lower in ("pyproject.toml", "pipfile"):
        return _toml
    if lower in ("uv.lock", "poetry.lock", "pdm.lock", "pipfile.lock", "requirements.lock"):
        return _lock
    if lower.endswith(".ipynb"):
        return _notebook
    if lower.endswith((".sh", ".bash", ".mk", ".ps1", ".bat")) or lower in (
        "makefile",
        "justfile",
        "procfile",
    ):
        return _script
    if "dockerfile" in lower or lower.endswith((".yml", ".yaml")):
        return _script
    return None


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UnreadableFileError(0, "It is not UTF-8.") from None


def _requirements(content: bytes) -> FileResult:
    text = _text(content)
    new = _LINE.sub(lambda match: f"{match['before']}rayform{match['after']}", text)
    return FileResult(new.encode() if new != text else None)


def _toml(content: bytes) -> FileResult:
    """Rewrite strings in lists, and rows of tables of dependencies as Poetry and Pipenv write them."""
    text = _text(content)
    try:
        before = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise UnreadableFileError(0, f"It is not valid TOML: {error}.") from None
    new = _QUOTED.sub(lambda m: f"{m['quote']}rayform{m['after'] or ''}{m['quote']}", text)
    parts: list[str] = []
    position, table = 0, ""
    for match in [*_TABLE.finditer(new), None]:
        end = match.start() if match is not None else len(new)
        part = new[position:end]
        if "dependencies" in table or table in ("packages", "dev-packages"):
            part = _TABLE_ROW.sub(lambda m: f'{m["before"]}rayform{m["equals"]}"*"', part)
        parts.append(part)
        if match is not None:
            position, table = end, match["name"]
    new = "".join(parts)
    if new == text:
        return FileResult()
    # The name of the project itself isn't a requirement.
    if before.get("project", {}).get("name") == "zenml":
        raise UnreadableFileError(0, "It is ZenML's own project.")
    try:
        tomllib.loads(new.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise UnreadableFileError(0, f"Its dependencies can't be rewritten: {error}.") from None
    return FileResult(new.encode())


def _lock(content: bytes) -> FileResult:
    if re.search(rb"(?<![\w-])zenml(?![\w-])", content) is None:
        return FileResult()
    return FileResult(
        findings=[Finding(0, "zenml", "Make this lock file again from the changed requirements.")]
    )


def _script(content: bytes) -> FileResult:
    """Find ZenML's commands. Scripts aren't rewritten: options differ, and nothing here reads a shell."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        return FileResult()
    findings = []
    for number, line in enumerate(lines, 1):
        code = line.strip()
        if code.startswith("#"):
            continue
        if _COMMAND.search(code) and not _INSTALL.search(code):
            findings.append(Finding(number, code[:120], _instead_of(code)))
        elif _INSTALL.search(code):
            findings.append(Finding(number, code[:120], "Install `rayform` in place of `zenml`."))
    return FileResult(findings=findings)


def _instead_of(code: str) -> str:
    call = " ".join(code[code.index("zenml") :].split())
    for command in sorted(COMMANDS, key=len, reverse=True):
        if f"{call} ".startswith(f"{command} "):
            return f"In Rayform: {COMMANDS[command]}."
    return "See docs/from-zenml.md for the command that does the same."


def _notebook(content: bytes) -> FileResult:
    """Rewrite the code cells of a notebook, if the notebook can be written exactly as it was."""
    text = _text(content)
    if "zenml" not in text:
        return FileResult()
    try:
        book = json.loads(text)
        cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
        raise UnreadableFileError(0, "It is not a valid notebook.") from None
    style = next((style for style in _STYLES if _written(book, style, text) == text), None)
    result = FileResult()
    changed = False
    for number, cell in enumerate(cells, 1):
        source = cell.get("source", "")
        code = "".join(source) if isinstance(source, list) else str(source)
        if "zenml" not in code:
            continue
        try:
            cell_result = rewrite_python(code.encode())
        except UnreadableFileError:
            why = "This cell isn't plain Python (magics, shell commands): change it by hand."
            result.findings.append(Finding(0, f"code cell {number}", why))
            continue
        result.findings += [
            Finding(0, f"code cell {number}: {found.what}", found.why) for found in cell_result.findings
        ]
        if cell_result.content is not None:
            if style is None:
                why = "The notebook isn't rewritten, since its layout would change: change the cell by hand."
                result.findings.append(Finding(0, f"code cell {number}", why))
                continue
            new = cell_result.content.decode()
            cell["source"] = new.splitlines(keepends=True) if isinstance(source, list) else new
            changed = True
    if changed and style is not None:
        result.content = _written(book, style, text).encode()
    return result


_STYLES = [(indent, ascii_) for indent in (1, 2, 4, None) for ascii_ in (False, True)]
"""Ways in which editors write notebooks: the indentation, and whether other letters are escaped."""


def _written(book: object, style: tuple[int | None, bool], original: str) -> str:
    indent, ascii_ = style
    end = "\n" if original.endswith("\n") else ""
    return json.dumps(book, indent=indent, ensure_ascii=ascii_) + end
