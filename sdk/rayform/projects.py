"""New projects, copied from the templates that ship with Rayform."""

from __future__ import annotations

from pathlib import Path

from rayform_core.errors import ConflictError, NotFoundError
from rayform_core.files import storage_error

__all__ = ["make_project"]

_TEMPLATES = Path(__file__).parent / "templates"
_PLAIN_NAMES = {"gitignore": ".gitignore"}
"""Files that have another name in the template, since the build would obey them there."""


def make_project(folder: Path, template: str) -> list[Path]:
    """Copy a template into a folder; create the folder if it is missing.

    Args:
        folder: the new project's folder.
        template: name of the template.

    Returns:
        the paths of the new files, relative to the folder.

    Raises:
        NotFoundError: there is no such template.
        ConflictError: a file exists already; nothing was written.
        PrerequisiteError: the folder can't be written.
    """
    source = _TEMPLATES / template
    if not source.is_dir():
        raise NotFoundError("template", template, known=[p.name for p in _TEMPLATES.iterdir() if p.is_dir()])
    files = {
        _target(path.relative_to(source)): path
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    existing = [str(name) for name in files if (folder / name).exists()]
    if existing:
        raise ConflictError(
            f"'{folder}' already has {', '.join(existing)}.",
            why="Nothing was written.",
            hint="Choose an empty folder, or move these files away.",
        )
    try:
        for name, path in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(path.read_bytes())
    except OSError as error:
        raise storage_error(error, folder) from error
    return list(files)


def _target(path: Path) -> Path:
    return path.with_name(_PLAIN_NAMES.get(path.name, path.name))
