"""Facts about a pipeline's code, stored with every run: where it is, its git commit, and this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rayform_core.version import __version__
from rayform_runtime.execution.interface import CodeFacts

__all__ = ["BackgroundGitFacts", "CodePlace", "code_place", "environment_facts", "git_facts", "user_name"]

_GIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Where a pipeline's code is.

    Args:
        root: the project's folder.
        import_paths: folders that imports start from; see `PipelineSpec.import_paths`.
    """

    root: Path
    import_paths: tuple[str, ...]


def code_place(module: str) -> CodePlace:
    """Return the project that a module belongs to.

    The project is the git working tree around the module's file. Without git, it is the folder that holds the
    script or the module's topmost package. For a notebook or an installed package, it is the working folder.

    Args:
        module: name of an imported module, such as a pipeline function's `__module__`.
    """
    start = _import_folder(module)
    root = next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), start)
    if root == Path.home():
        root = start  # a home folder under git is no project
    folders = [start, *(Path(entry or Path.cwd()) for entry in sys.path)]
    installed = _installed_folders(sys.prefix, sys.base_prefix, str(Path(os.__file__).parent))
    paths = []
    for folder in folders:
        absolute = folder.absolute()
        if not absolute.is_dir() or _is_installed(absolute, root, installed):
            continue
        paths.append(
            absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)
        )
    return CodePlace(root, tuple(dict.fromkeys(paths)))


def _import_folder(module: str) -> Path:
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file or not Path(file).is_file() or "site-packages" in Path(file).parts:
        return Path.cwd()
    folder = Path(file).absolute().parent
    spec = getattr(sys.modules[module], "__spec__", None)
    if module == "__main__" and spec is not None:
        module = spec.name  # started by `python -m`
    for _ in range(module.count(".") + (Path(file).name == "__init__.py")):
        folder = folder.parent
    return folder


@lru_cache(maxsize=4)
def _installed_folders(*folders: str) -> tuple[str, ...]:
    return tuple({str(Path(folder).resolve()) for folder in folders})


# Cached, since each run of a process asks for the same folders, and resolving their links takes time.
@lru_cache(maxsize=256)
def _is_installed(folder: Path, root: Path, installed: tuple[str, ...]) -> bool:
    """Whether a folder belongs to Python or an environment rather than to a user's project."""
    if "site-packages" in folder.parts or "dist-packages" in folder.parts:
        return True
    resolved = str(folder.resolve())
    inside = any(resolved == p or resolved.startswith(p + os.sep) for p in installed)
    # A project may lie below the prefix (a container with its code in /usr/src): the root itself stays.
    return inside and folder != root


def git_facts(folder: Path) -> CodeFacts:
    """Return what git says about the working tree at `folder`; nothing without git."""
    if not (folder / ".git").exists():
        return CodeFacts()
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        status = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return (
            CodeFacts()
        )  # no git, or a broken repository: nothing to record, and the pipeline can still run
    commit, branch, is_dirty = None, None, False
    for line in status.stdout.splitlines():
        if line.startswith("# branch.oid ") and not line.endswith("(initial)"):
            commit = line.split()[-1]
        elif line.startswith("# branch.head ") and not line.endswith("(detached)"):
            branch = line.split()[-1]
        elif not line.startswith("#"):
            is_dirty = True
    return CodeFacts(git_dirty=is_dirty, git_commit=commit, git_branch=branch)


class BackgroundGitFacts:
    """Asks for `git_facts` in the background, since git takes as long as the rest of a run's start.

    Args:
        folder: the working tree.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._facts = CodeFacts()
        self._thread = threading.Thread(target=self._ask, name="rayform-git", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        self._facts = git_facts(self._folder)

    def poll(self) -> CodeFacts | None:
        """Return the facts; `None` as long as git has not answered."""
        return None if self._thread.is_alive() else self._facts

    def wait(self) -> CodeFacts:
        """Wait for git and return the facts."""
        self._thread.join()
        return self._facts


def environment_facts() -> dict[str, object]:
    """Return the versions of Python, of Rayform and of this machine's system."""
    machine = os.uname()
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "rayform": __version__,
        "platform": f"{machine.sysname} {machine.release} {machine.machine}",
    }


def user_name() -> str | None:
    """Return the name of the user who runs this process; `None` if the system has none (as in some containers)."""
    if name := os.environ.get("LOGNAME") or os.environ.get("USER"):
        return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
