"""Which files of a project travel: all but what `.gitignore` and `.dockerignore` leave out, and never secrets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rayform_core.errors import UsageError

__all__ = ["NEVER_TRAVELS", "ProjectFile", "project_files"]

NEVER_TRAVELS = (
    # Not code, wherever it lies.
    ".git/", "__pycache__/", "*.py[cod]", ".venv/", "venv/", "node_modules/", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".ipynb_checkpoints/", ".rayform/", ".terraform/", "*.egg-info/",
    # Secrets by their usual names: a project that needs one at run time reads it from its secret store.
    ".env", ".env.*", "!.env.example", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".pypirc",
    ".aws/", ".ssh/", ".docker/", "*.tfstate", "*.tfstate.*", "*.tfvars",
)  # fmt: skip

_IGNORE_FILES = (".gitignore", ".dockerignore", ".rayformignore")
_MOST_FILES = 20_000
_MOST_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """One file that travels: POSIX path below the project's root, where it lies, size in bytes, executable."""

    name: str
    path: Path
    size: int
    executable: bool


def project_files(root: Path) -> list[ProjectFile]:
    """Return the files of a project that travel to the cluster, sorted by name.

    Links are followed where they stay inside the project; one that leaves it is refused, since the file that it
    names isn't the project's.

    Args:
        root: the project's folder.

    Raises:
        UsageError: a link leaves the project, or there is far more than code; names the largest.
    """
    root = root.resolve()
    found: list[ProjectFile] = []
    total = 0
    for name, path in _walk(root):
        target = path.resolve()
        if path.is_symlink() and not target.is_relative_to(root):
            raise UsageError(
                f"'{name}' in '{root}' is a link to '{target}', outside of the project.",
                hint="Copy the file into the project, or name the link in .gitignore or .rayformignore.",
            )
        status = target.stat() if target.exists() else None
        if status is None or not stat.S_ISREG(status.st_mode):
            continue
        total += status.st_size
        found.append(ProjectFile(name, target, status.st_size, bool(status.st_mode & stat.S_IXUSR)))
        if total > _MOST_BYTES or len(found) > _MOST_FILES:
            largest = ", ".join(
                f"{f.name} ({f.size / 2**20:.0f} MB)" for f in sorted(found, key=lambda f: -f.size)[:3]
            )
            raise UsageError(
                f"The project '{root}' is too large to travel as code: over {_MOST_BYTES / 2**20:.0f} MB or "
                f"{_MOST_FILES} files.",
                why=f"The largest: {largest}.",
                hint="Name what isn't code in .rayformignore, or keep data in artifacts.",
            )
    return sorted(found, key=lambda f: f.name)


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
            verdict = False
            for base, spec in rules:
                # The last rule that says anything wins, nearer files over farther ones, as git has it.
                include = spec.check_file(name.removeprefix(base)).include
                if include is not None:
                    verdict = include
            return verdict

        linked = [f for f in folders if (Path(folder) / f).is_symlink()]
        folders[:] = sorted(f for f in folders if f not in linked and not ignored(here + f + "/"))
        for name in sorted(files):
            if not ignored(here + name):
                yield here + name, Path(folder) / name
