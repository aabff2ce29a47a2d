"""The script of a run as `__main__` of a worker: all of it, except what only the user's own process runs.

The module is what `python script.py` or `python -m package.module` makes, with the same `__name__`, `__file__` and
`__spec__`. So classes of the script have the module `__main__`, pickles of them are those of plain Python, and
`multiprocessing` tells its children to import the script. Only comparisons of `__name__` with `"__main__"` at the top
level come out as if the script were imported, as they do in a child of `multiprocessing`.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

from rayform_core.errors import NotFoundError
from rayform_runtime.usercode.program import current_program
from rayform_runtime.usercode.scripts import ends_quietly, import_without_running

__all__ = [
    "MAIN_NAMES",
    "SPAWNED_MODULE",
    "SPAWNED_SCRIPT",
    "add_to_cells",
    "enter_cells",
    "load_main",
    "reads_command_line",
    "run_script",
]

MAIN_NAMES = ("__main__", "__mp_main__", "__rayform_main__")
"""What a script's module is called: by Python, in a child of `multiprocessing`, and in runs of earlier versions."""

SPAWNED_SCRIPT, SPAWNED_MODULE = "RAYFORM_SPAWNED_SCRIPT", "RAYFORM_SPAWNED_MODULE"
"""Variables that tell `spawned_main` the script's file, and its name if it was started by `python -m`."""

_READERS = ("argv", "parse_args", "parse_known_args", "parse_intermixed_args")
_IMPORTED = "__mp_main__"
"""What `__name__` is compared as, instead of `__main__`."""


def load_main(file: str) -> types.ModuleType:
    """Return the script's module, which is `__main__` of this process from now on.

    Args:
        file: its absolute path.

    Raises:
        NotFoundError: the file is gone; whatever else the script's top level raises passes through.
    """
    main = sys.modules.get("__main__")
    if main is not None and _is_file_of(main, file):
        return main
    if not Path(file).is_file():
        raise NotFoundError(
            "script", file, hint="It was there when the pipeline was traced; put it back and resume the run."
        )
    program = current_program()
    name = program.module if program.file == file else None
    module = _new_main(file, name)
    previous = {name: sys.modules.get(name) for name in MAIN_NAMES[:2]}
    # Before the script runs: dataclasses, pydantic and pickle look for `__main__` while it does.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    try:
        if not run_script(module, file):
            _let_children_load_quietly(file, name)
    except BaseException:
        for key, before in previous.items():
            if before is None:
                sys.modules.pop(key, None)
            else:
                sys.modules[key] = before
        raise
    return module


def run_script(module: types.ModuleType, file: str) -> bool:
    """Run a script's top level in a module; return whether it came to its end without calling a pipeline."""
    code = _code_of(file)
    with ends_quietly(module) as loading:
        exec(code, vars(module))  # noqa: S102 - the user's script, as Python runs it
    return not loading.was_cut_short


def _is_file_of(module: types.ModuleType, file: str) -> bool:
    own = getattr(module, "__file__", None)
    return own is not None and (own == file or os.path.abspath(own) == file)  # noqa: PTH100 - keeps links


def _new_main(file: str, name: str | None) -> types.ModuleType:
    """Return the module in which Python runs a script, or the module `name` by `python -m`."""
    module = types.ModuleType("__main__")
    spec = _spec_of(name) if name is not None else None
    module.__file__ = file
    module.__spec__ = spec
    module.__loader__ = spec.loader if spec is not None else SourceFileLoader("__main__", file)
    module.__package__ = spec.parent if spec is not None else None
    vars(module).update(__cached__=spec.cached if spec is not None else None, __builtins__=__builtins__)
    return module


def _spec_of(name: str) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    if parent:
        import_without_running(parent)
    return importlib.util.find_spec(name)


# -- cells ----------------------------------------------------------------------------------------------------


def enter_cells() -> None:
    """Give a worker of a notebook, or of `python -c`, a `__main__` without a file, as the notebook has one."""
    if not isinstance(sys.modules.get("__main__"), _Cells):
        main = _Cells("__main__")
        vars(main).update(__builtins__=__builtins__)
        sys.modules["__main__"] = sys.modules["__mp_main__"] = main


def add_to_cells(target: object) -> None:
    """Make a function or class of a cell part of `__main__`, with the global variables that it uses."""
    main = sys.modules["__main__"]
    if not isinstance(main, _Cells):
        return
    used = getattr(target, "__globals__", {})
    vars(main).update({name: value for name, value in used.items() if not name.startswith("__")})
    name = getattr(target, "__qualname__", "")
    if name.isidentifier():
        vars(main)[name] = target


class _Cells(types.ModuleType):
    """`__main__` of a notebook's worker: what its steps have brought along."""


# -- the guard ------------------------------------------------------------------------------------------------


def _code_of(file: str) -> types.CodeType:
    loader = SourceFileLoader("__main__", file)
    data = loader.get_data(file)
    if b"__main__" not in data:
        code: types.CodeType | None = loader.get_code("__main__")  # compiled once for all processes
        assert code is not None
        return code
    tree = compile(data, file, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    _Guards().visit_body(tree)
    compiled: types.CodeType = compile(tree, file, "exec", dont_inherit=True)
    return compiled


class _Guards(ast.NodeTransformer):
    """Lets comparisons of `__name__` with `"__main__"` come out false: those outside of functions and classes."""

    def visit_body(self, tree: ast.Module) -> None:
        """Change a module's top level."""
        for statement in tree.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        parts = list(ast.walk(node))
        if any(isinstance(part, ast.Constant) and part.value == "__main__" for part in parts):
            _Names().visit(node)
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        node.subject = _Names().visit(node.subject)
        for case in node.cases:
            for statement in case.body:
                self.visit(statement)
        return node


class _Names(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id != "__name__" or not isinstance(node.ctx, ast.Load):
            return node
        return ast.copy_location(ast.Constant(_IMPORTED), node)


def reads_command_line(file: str) -> bool:
    """Return whether a script reads its command line where workers do: at its top level, or in a decorated function.

    What the guard's block reads, or a plain function such as `main`, reaches steps only by their arguments.
    """
    data = Path(file).read_bytes()
    if b"argv" not in data and b"parse_" not in data:
        return False
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return False
    return any(_reads(statement) for statement in tree.body)


def _reads(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
        return False
    if isinstance(node, ast.If) and _is_guard(node.test):
        return any(_reads(statement) for statement in node.orelse)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in _READERS or any(_reads(child) for child in ast.iter_child_nodes(node))


def _is_guard(test: ast.AST) -> bool:
    return any(isinstance(part, ast.Constant) and part.value == "__main__" for part in ast.walk(test))


# -- children of multiprocessing ------------------------------------------------------------------------------


def _let_children_load_quietly(file: str, name: str | None) -> None:
    """Let a spawned child load a script whose top level calls a pipeline: only up to that call, as this process did.

    The child would import the script as it is, and the call would end it. `Pool` replaces such a child for ever.
    """
    os.environ[SPAWNED_SCRIPT] = file
    if name is not None:
        os.environ[SPAWNED_MODULE] = name
    if "multiprocessing.spawn" in sys.modules:
        _use_stand_in(sys.modules["multiprocessing.spawn"])
    elif not any(isinstance(finder, _SpawnFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SpawnFinder())


def _use_stand_in(spawn: types.ModuleType) -> None:
    prepare = spawn.get_preparation_data
    if getattr(prepare, "__module__", None) == __name__:
        return
    stand_in = str(Path(__file__).with_name("spawned_main.py"))

    def get_preparation_data(name: str) -> dict[str, object]:
        data: dict[str, object] = prepare(name)
        main = sys.modules["__main__"]
        script = os.environ.get(SPAWNED_SCRIPT)
        if script is not None and _is_file_of(main, script):
            data.pop("init_main_from_name", None)
            data["init_main_from_path"] = stand_in
        return data

    vars(spawn)["get_preparation_data"] = get_preparation_data


class _SpawnFinder:
    """Changes `multiprocessing.spawn` as soon as it is imported; importing it now would slow each run's start."""

    def find_spec(
        self, name: str, path: object = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's own spec with a loader that changes the module; `None` for all other modules."""
        if name != "multiprocessing.spawn":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return spec
        load = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            load(module)
            _use_stand_in(module)

        vars(spec.loader)["exec_module"] = exec_module
        return spec
