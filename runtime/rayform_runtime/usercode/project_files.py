"""Which files of a project travel to the cluster: all but ignored files, and never secrets.

`.gitignore`, `.dockerignore` and `.rayformignore` name ignored files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rayform_core.errors import UsageError

__all__ = ["NEVER_TRAVELS", "ProjectFile", "project_files"]

NEVER_TRAVELS = (
    # Not code, in any folder.
    ".git/", "__pycache__/", "*.py[cod]", ".venv/", "venv/", "node_modules/", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".ipynb_checkpoints/", ".rayform/", ".terraform/", "*.egg-info/",
    # Usual names of secrets. A project that needs a secret at run time reads it from its secret store.
    ".env", ".env.*", "!.env.example", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".pypirc",
    ".aws/", ".ssh/", ".docker/", "*.tfstate", "*.tfstate.*", "*.tfvars",
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


def project_files(root: Path) -> list[ProjectFile]:
    """Return the files of a project that travel to the cluster, sorted by name.

    Links inside the project are followed. A link that leaves the project is refused, since its file doesn't belong to
    the project.

    Args:
        root: the project's folder.

    Raises:
        UsageError: a link leaves the project, or the project holds far more than code; names the largest files.
    """
    root = root.resolve()
    files: list[ProjectFile] = []
    total = 0
    for name, path in _walk(root):
        target = path.resolve()
        if path.is_symlink() and not target.is_relative_to(root):
            raise UsageError(
                f"'{name}' in '{root}' is a link to '{target}', outside of the project.",
                hint="Copy the file into the project, or list the link in .gitignore or .rayformignore.",
            )
        status = target.stat() if target.exists() else None
        if status is None or not stat.S_ISREG(status.st_mode):
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
    return sorted(files, key=lambda f: f.name)


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    import pathspec

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
        for name in sorted(files):
            if not ignored(here + name):
                yield here + name, Path(folder) / name
