"""Reads the documentation strings of Python's standard library, without importing any of it."""

from __future__ import annotations

import ast
import inspect
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MODULES = [
    "argparse", "ast", "asyncio", "collections", "concurrent", "contextlib", "csv", "dataclasses", "datetime",
    "difflib", "email", "enum", "fractions", "functools", "glob", "gzip", "heapq", "html", "http", "importlib",
    "inspect", "ipaddress", "json", "logging", "multiprocessing", "os", "pathlib", "pickle", "random", "re",
    "shutil", "socket", "sqlite3", "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap",
    "threading", "typing", "unittest", "urllib", "uuid", "xml", "zipfile",
]  # fmt: skip
"""Modules and packages whose documentation makes good answers."""

_PROMPT = re.compile(r"^\s*(>>>|\.\.\.)")


def read_module(name: str) -> Iterator[dict[str, str]]:
    """Yield one record for each documented public function, class and method of a module or package.

    Args:
        name: a module of the standard library.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    package = library / name
    files = sorted(package.rglob("*.py")) if package.is_dir() else [library / f"{name}.py"]
    for file in files:
        if not file.is_file() or any(
            part.startswith("_") and part != "__init__.py" for part in file.parts[-2:]
        ):
            continue
        module = ".".join(file.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
        yield from _documented(ast.parse(file.read_text(encoding="utf-8")), module)


def _documented(node: ast.AST, path: str) -> Iterator[dict[str, str]]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if child.name.startswith("_"):
            continue
        name = f"{path}.{child.name}"
        text = ast.get_docstring(child)
        if text:
            kind = "class" if isinstance(child, ast.ClassDef) else "function"
            signature = "" if kind == "class" else f"({ast.unparse(child.args)})"
            yield {"name": name, "kind": kind, "signature": signature, "text": text}
        if isinstance(child, ast.ClassDef):
            yield from _documented(child, name)


def first_part(text: str) -> str:
    """Return a documentation string without common indentation, up to its first `>>>` session."""
    kept = []
    for line in inspect.cleandoc(text).splitlines():
        if _PROMPT.match(line):
            break
        kept.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
