"""Finds the pipeline that `rayform run FILE_OR_MODULE[:PIPELINE]` names."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from rayform.authoring.pipelines import Pipeline
from rayform.launching.failures import loading
from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.usercode.loading import SCRIPT_MODULE
from rayform_runtime.usercode.scripts import ends_quietly, import_without_running

__all__ = ["find_pipeline", "load_target"]


def find_pipeline(target: str) -> Pipeline[Any, Any]:
    """Load a file or module and return its pipeline.

    Args:
        target: `path/to/file.py`, `package.module`, either with `:pipeline` behind it. The pipeline is named
            by its variable or by its own name; it may be left out where there is only one.

    Raises:
        NotFoundError: there is no such file, module or pipeline.
        UsageError: there are several pipelines and none is named.
        RayformError: the code's top level raised; shows the person's own traceback.
    """
    place, _, wanted = target.partition(":")
    with loading(f"'{place}'"):
        module = load_target(place)
    found = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    own = {name: value for name, value in found.items() if value.__module__ == module.__name__}
    if wanted:
        for name, value in found.items():
            if wanted in (name, value.name):
                return value
        raise NotFoundError("pipeline", wanted, known=found, within=f"in '{place}'")
    candidates = list({id(p): (n, p) for n, p in (own or found).items()}.values())
    if not candidates:
        raise UsageError(
            f"'{place}' has no pipeline.",
            why="No name at its top level is a function that is decorated with @pipeline.",
            hint="Decorate one, or name the file that has one.",
        )
    if len(candidates) > 1:
        names = [name for name, _ in candidates]
        raise UsageError(
            f"'{place}' has {len(names)} pipelines: {', '.join(names)}.",
            hint=f"Name one: {place}:{names[0]}.",
        )
    return candidates[0][1]


def load_target(place: str) -> ModuleType:
    """Load a file as `import` would, or a module by its name.

    The block under `if __name__ == "__main__"` isn't run, and a pipeline that the top level calls isn't
    started: the command line decides what runs.
    """
    path = Path(place)
    if place.endswith(".py") or path.is_file() or "/" in place:
        return _load_file(path)
    if path.is_dir() and not (path / "__init__.py").exists():
        raise UsageError(f"'{place}' is a folder.", hint="Name a file in it, or a module.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # modules of the working folder, as `python -m` sees them
    try:
        found = importlib.util.find_spec(place)
    except (ModuleNotFoundError, ValueError):
        found = None
    if found is None:
        known = [p.name for p in Path().glob("*.py")]
        raise NotFoundError("file or module", place, known=known)
    return import_without_running(place)


def _load_file(path: Path) -> ModuleType:
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder.", hint="Name a file in it, or a module.")
    if not path.is_file():
        folder = path.parent
        known = [str(p) for p in folder.glob("*.py")] if folder.is_dir() else []
        raise NotFoundError("file", str(path), known=known)
    path = path.absolute()
    folder, parts = path.parent, [path.stem]
    if path.stem == "__init__":
        folder, parts = folder.parent, [folder.name]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts)
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or not all(p.isidentifier() for p in parts) or name in sys.stdlib_module_names:
        name = SCRIPT_MODULE  # its own name is another module's, or none's: workers load it by its file
    if path.suffix == ".ipynb":
        raise UsageError(
            f"'{path}' is a notebook.",
            hint="Call the pipeline in one of its cells, or export it: jupyter nbconvert --to script.",
        )
    # A script may have any suffix, or none.
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise UsageError(f"'{path}' can't be run as Python.")
    if len(parts) > 1:
        import_without_running(".".join(parts[:-1]))
    module = importlib.util.module_from_spec(spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with ends_quietly(module):
            spec.loader.exec_module(module)
    except BaseException:
        if previous is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = previous
        raise
    return module
