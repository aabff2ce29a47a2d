"""The target of `rayform run FILE_OR_MODULE[:PIPELINE]`: loads the file or module and finds its pipeline."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from rayform.authoring.pipelines import Pipeline
from rayform.launching.failures import loading
from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.usercode.main_module import load_main
from rayform_runtime.usercode.scripts import ends_quietly, import_without_running

__all__ = ["find_pipeline"]


def find_pipeline(target: str) -> Pipeline[..., object]:
    """Load a file or module and return its pipeline.

    Args:
        target: `path/to/file.py` or `package.module`, with or without `:pipeline` at its end. The pipeline is named
            by its variable or by its own name; the name may be left out if there is only one.

    Raises:
        NotFoundError: there is no such file, module or pipeline.
        UsageError: there are several pipelines and the target names none.
        RayformError: the code's top level raised; the error shows the user's own traceback.
    """
    place, _, name = target.partition(":")
    with loading(f"'{place}'"):
        module = _load(place)
    pipelines = {n: value for n, value in vars(module).items() if isinstance(value, Pipeline)}
    if name:
        for variable, pipeline in pipelines.items():
            if name in (variable, pipeline.name):
                return pipeline
        raise NotFoundError("pipeline", name, known=pipelines, within=f"in '{place}'")
    own = {n: p for n, p in pipelines.items() if p.__module__ == module.__name__}
    # A pipeline with two variables counts once.
    candidates = list({id(p): (n, p) for n, p in (own or pipelines).items()}.values())
    if not candidates:
        raise UsageError(
            f"'{place}' has no pipeline.",
            why="No name at its top level is a function that is decorated with @pipeline.",
            hint="Decorate one, or name the file that has one.",
        )
    if len(candidates) > 1:
        names = [n for n, _ in candidates]
        raise UsageError(
            f"'{place}' has {len(names)} pipelines: {', '.join(names)}.",
            hint=f"Name one: {place}:{names[0]}.",
        )
    return candidates[0][1]


def _load(place: str) -> ModuleType:
    """Load a file as `import` would, or a module by its name.

    The block under `if __name__ == "__main__"` doesn't run, and a pipeline that the top level calls doesn't
    start: the command line decides what runs.
    """
    path = Path(place)
    if len(os.fsencode(path.name)) > 255 or "\0" in place:
        raise UsageError(f"'{place[:60]}…' can't be the name of a file or module.")
    if place.endswith(".py") or path.is_file() or "/" in place:
        return _load_file(path)
    if path.is_dir() and not (path / "__init__.py").exists():
        raise UsageError(f"'{place}' is a folder.", hint="Name a file in it, or a module.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # modules of the working folder, as `python -m` sees them
    try:
        spec = importlib.util.find_spec(place)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None:
        files = [p.name for p in Path().glob("*.py")]
        raise NotFoundError("file or module", place, known=files)
    return import_without_running(place)


def _load_file(path: Path) -> ModuleType:
    _refuse_unreadable(path)
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
    if len(parts) > 1:
        import_without_running(".".join(parts[:-1]))
    if loaded is not None or not all(p.isidentifier() for p in parts) or name in sys.stdlib_module_names:
        return load_main(
            str(path)
        )  # its name is another module's or can't be imported: workers load it by its file
    return _execute_file(name, path)


def _refuse_unreadable(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder.", hint="Name a file in it, or a module.")
    if not path.is_file():
        folder = path.parent
        files = [str(p) for p in folder.glob("*.py")] if folder.is_dir() else []
        raise NotFoundError("file", str(path), known=files)
    if path.suffix == ".ipynb":
        raise UsageError(
            f"'{path}' is a notebook.",
            hint="Call the pipeline in one of its cells, or export it: jupyter nbconvert --to script.",
        )


def _execute_file(name: str, path: Path) -> ModuleType:
    """Execute a file as the module `name`; if that fails, `sys.modules` stays as it was."""
    # A script may have any suffix, or none.
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise UsageError(f"'{path}' can't be run as Python.", hint="Name a Python file.")
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
