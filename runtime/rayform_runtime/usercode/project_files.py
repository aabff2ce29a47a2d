"""Which files of a project travel to the cluster: all but ignored files, and never secrets.

`.gitignore`, `.dockerignore` and `.rayformignore` name ignored files. A line `!path/of/file` in the project's own
`.rayformignore`, without wildcards, says that a file that looks like a secret is none.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rayform_core.errors import UsageError
from rayform_runtime.usercode.secret_files import SECRET_NAMES, SecretScan

__all__ = ["NEVER_TRAVELS", "LeftOut", "ProjectFile", "Selection", "project_files", "select_files"]

NEVER_TRAVELS = (
    # Not code, in any folder. Secrets are left out as well (`secret_files.py`).
    ".git/", "__pycache__/", "*.py[cod]", ".venv/", "venv/", "node_modules/", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".ipynb_checkpoints/", ".rayform/", ".terraform/", "*.egg-info/",
)  # fmt: skip

_IGNORE_FILES = (".gitignore", ".dockerignore", ".rayformignore")
_MOST_FILES = 20_000
_MOST_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """One file that travels: POSIX path below the project's root, path on this machine, size in bytes, mode."""

    name: str
    path: Path
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that stays on this machine: its POSIX path below the project's root, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of a project that travel, sorted by name, and what looks like a secret and stays."""

    files: list[ProjectFile]
    left_out: list[LeftOut]


def project_files(root: Path) -> list[ProjectFile]:
    """Return the files of a project that travel to the cluster; see `select_files`."""
    return select_files(root).files


def select_files(root: Path) -> Selection:
    """Return the files of a project that travel to the cluster, and those that stay because they look like secrets.

    Links inside the project are followed. A link that leaves the project is refused, since its file doesn't belong to
    the project. What the project's ignore files name is in neither list.

    Args:
        root: the project's folder.

    Raises:
        UsageError: a link leaves the project, or the project holds far more than code; names the largest files.
    """
    root = root.resolve()
    files: list[ProjectFile] = []
    left_out: list[LeftOut] = []
    scan = SecretScan(root)
    is_secret_name = _matcher(SECRET_NAMES)
    harmless = _harmless(root)
    total = 0
    for name, path in _walk(root, left_out):
        target = path.resolve()
        if path.is_symlink() and not target.is_relative_to(root):
            raise UsageError(
                f"'{name}' in '{root}' is a link to '{target}', outside of the project.",
                hint="Copy the file into the project, or list the link in .gitignore or .rayformignore.",
            )
        status = target.stat() if target.exists() else None
        if status is None or not stat.S_ISREG(status.st_mode):
            continue
        if name not in harmless:
            own_name = target.relative_to(root).as_posix()
            why = "is named like a secret" if is_secret_name(name) or is_secret_name(own_name) else None
            if why is None and (kind := scan.kind(target, status)):
                why = f"holds {kind}"
            if why is not None:
                left_out.append(LeftOut(name, why))
                continue
        total += status.st_size
        files.append(ProjectFile(name, target, status.st_size, bool(status.st_mode & stat.S_IXUSR)))
        if total > _MOST_BYTES or len(files) > _MOST_FILES:
            largest = ", ".join(
                f"{f.name} ({f.size / 2**20:.0f} MB)" for f in sorted(files, key=lambda f: -f.size)[:3]
            )
            raise UsageError(
                f"The project '{root}' is too large to travel as code: over {_MOST_BYTES / 2**20:.0f} MB or "
                f"{_MOST_FILES} files.",
                why=f"Its largest files are {largest}.",
                hint="List files that aren't code in .rayformignore, or keep data in artifacts.",
            )
    scan.save()
    return Selection(sorted(files, key=lambda f: f.name), sorted(left_out, key=lambda item: item.name))


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a path fits one of the patterns, whatever its case."""
    import pathspec

    spec = pathspec.GitIgnoreSpec.from_lines(patterns)
    return lambda name: spec.match_file(name.lower())


def _harmless(root: Path) -> set[str]:
    """Return the files that the project's `.rayformignore` names, one by one, as no secrets."""
    try:
        lines = (root / ".rayformignore").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {
        line.strip()[1:].lstrip("/") for line in lines if line.startswith("!") and not set(line) & set("*?[")
    }


def _walk(root: Path, left_out: list[LeftOut]) -> Iterator[tuple[str, Path]]:
    """Yield names and paths of files that no ignore file names; add folders of secrets to `left_out`."""
    import pathspec

    is_secret_folder = _matcher(SECRET_NAMES)
    always = pathspec.GitIgnoreSpec.from_lines(NEVER_TRAVELS)
    specs: dict[str, list[tuple[str, pathspec.GitIgnoreSpec]]] = {}
    for folder, folders, files in os.walk(root, followlinks=False):
        here = "" if folder == str(root) else Path(folder).relative_to(root).as_posix() + "/"
        parent = here.rstrip("/").rpartition("/")[0] + "/" if "/" in here.rstrip("/") else ""
        rules = list(specs.get(parent, [])) if here else []
        for name in _IGNORE_FILES:
            if name in files:
                lines = (Path(folder) / name).read_text(errors="replace").splitlines()
                rules.append((here, pathspec.GitIgnoreSpec.from_lines(lines)))
        specs[here] = rules

        def ignored(name: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]] = rules) -> bool:
            if always.match_file(name):
                return True
            is_ignored = False
            for base, spec in rules:
                # As in git, the last rule that matches wins, and nearer ignore files win over farther ones.
                include = spec.check_file(name.removeprefix(base)).include
                if include is not None:
                    is_ignored = include
            return is_ignored

        linked = [f for f in folders if (Path(folder) / f).is_symlink()]
        folders[:] = sorted(f for f in folders if f not in linked and not ignored(here + f + "/"))
        secret = [f for f in folders if is_secret_folder(here + f + "/")]
        left_out += [LeftOut(here + f + "/", "is named like a secret") for f in secret]
        folders[:] = [f for f in folders if f not in secret]
        for name in sorted(files):
            if not ignored(here + name):
                yield here + name, Path(folder) / name
