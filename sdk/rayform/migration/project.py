"""Migrates the files of a project: finds them, rewrites them in memory, and writes what has changed."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rayform.migration.findings import FileResult, Finding, UnreadableFileError
from rayform_core.errors import NotFoundError, PrerequisiteError
from rayform_core.files import write_atomically

__all__ = ["Change", "Migration", "diff_of", "migrate"]

_SKIPPED = frozenset(
    (
        ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", "site-packages", ".tox", ".nox",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints", ".zen", ".zenml", ".rayform",
    )
)  # fmt: skip
_LARGEST = 5_000_000
"""Bytes; a larger file is reported and not read."""
_CONFIG_PATH = re.compile(r"""["']([\w./ \-]+\.ya?ml)["']""")


@dataclass(frozen=True)
class Change:
    """A file that a migration changes; `path` is relative to the project."""

    path: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Migration:
    """What a migration of a project changes, and what it leaves to a human.

    Args:
        root: the project's folder, or the folder of a single file.
        changes: the files that change.
        findings: `(path, finding)` of each place that needs a human.
    """

    root: Path
    changes: list[Change]
    findings: list[tuple[str, Finding]]

    def write(self) -> None:
        """Write the changed files, each completely or not at all, with the mode that it had.

        Raises:
            PrerequisiteError: a file was edited since it was read, or can't be written. Files before it are written.
        """
        for change in self.changes:
            path = self.root / change.path
            try:
                mode = path.lstat().st_mode
                is_same = stat.S_ISREG(mode) and path.read_bytes() == change.before
            except OSError:
                mode, is_same = 0, False
            if not is_same:
                raise PrerequisiteError(
                    f"'{change.path}' was changed while the project was read.", hint="Run the command again."
                )
            write_atomically(path, change.after, mode=stat.S_IMODE(mode))


def migrate(path: Path) -> Migration:
    """Return what moving a project from ZenML to Rayform changes. Nothing is written.

    Args:
        path: the project's folder, or one file of it.

    Raises:
        NotFoundError: there is nothing at the path.
        PrerequisiteError: the packages that read code are missing.
    """
    _require_packages()
    if not path.exists():
        raise NotFoundError("file or folder", str(path))
    path = path.resolve()
    root = path if path.is_dir() else path.parent
    files = list(_files(root)) if path.is_dir() else [path]
    contents: dict[Path, bytes] = {}
    findings: list[tuple[str, Finding]] = []
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            if file.stat().st_size > _LARGEST:
                if _is_read(file):
                    findings.append((name, Finding(0, "the whole file", "It is too large to be read.")))
                continue
            contents[file] = file.read_bytes() if _is_read(file) else b""
        except OSError as error:
            findings.append((name, Finding(0, "the whole file", f"It can't be read: {error.strerror}.")))
    configurations = _named_configurations(contents)
    changes = []
    for file, content in contents.items():
        name = file.relative_to(root).as_posix()
        try:
            result = _rewrite(file, content, is_named=file.name in configurations)
        except UnreadableFileError as error:
            if b"zenml" in content.lower() or file.name in configurations:
                why = f"{error.why} The file was left as it is."
                findings.append((name, Finding(error.line, "the whole file", why)))
            continue
        findings += [(name, finding) for finding in result.findings]
        if result.content is not None and result.content != content:
            changes.append(Change(name, content, result.content))
    if (root / ".zen").is_dir() and path.is_dir():
        findings.append((".zen", Finding(0, "the whole folder", "Rayform doesn't need it. Delete it.")))
    return Migration(root, changes, sorted(findings))


def diff_of(change: Change) -> str:
    """Return a change as a unified diff."""
    before, after = (
        content.decode(errors="replace").splitlines(keepends=True)
        for content in (change.before, change.after)
    )
    lines = difflib.unified_diff(before, after, f"a/{change.path}", f"b/{change.path}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _require_packages() -> None:
    try:
        import libcst  # noqa: F401 - only whether it is there
        import ruamel.yaml  # noqa: F401 - only whether it is there
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"`rayform migrate` needs the Python package '{(error.name or '').partition('.')[0]}'.",
            hint="Install it: pip install 'rayform[migrate]'.",
        ) from error


def _files(root: Path) -> Iterator[Path]:
    """Yield the regular files below a folder, in order. Links are never followed."""
    for folder, subfolders, names in os.walk(root, followlinks=False):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name not in _SKIPPED
            and not (Path(folder) / name / "pyvenv.cfg").exists()
            and not (Path(folder) / name).is_symlink()
        )
        for name in sorted(names):
            file = Path(folder) / name
            if not file.is_symlink() and file.is_file():
                yield file


def _is_read(file: Path) -> bool:
    from rayform.migration.text_files import rewriter_of

    return file.suffix in (".py", ".pyi", ".yaml", ".yml") or rewriter_of(file.name) is not None


def _named_configurations(contents: dict[Path, bytes]) -> set[str]:
    """Return the names of the YAML files that Python code with ZenML's names mentions."""
    names: set[str] = set()
    for file, content in contents.items():
        if file.suffix == ".py" and b"config_path" in content:
            for path in _CONFIG_PATH.findall(content.decode(errors="replace")):
                names.add(Path(path).name)
    return names


def _rewrite(file: Path, content: bytes, *, is_named: bool) -> FileResult:
    from rayform.migration.python_files import rewrite_python
    from rayform.migration.text_files import rewriter_of
    from rayform.migration.yaml_files import is_run_configuration, rewrite_yaml

    if file.suffix in (".py", ".pyi"):
        return rewrite_python(content)
    is_yaml = file.suffix in (".yaml", ".yml")
    rewriter = rewriter_of(file.name)
    if is_yaml and (is_named or is_run_configuration(content)):
        return rewrite_yaml(content)
    return rewriter(content) if rewriter is not None else FileResult()
