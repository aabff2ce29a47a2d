"""The digest of a step's code: its own source and that of all project code that it can reach.

The cache's keys contain it. So it must change when a helper two modules away changes, and should not change when code
changes that the step never runs. Nothing is run for it: `module_index` parses the project's files, and this module
follows names from the function through assignments, imports, classes, decorators and constants to the project's edge.
Libraries are not followed: editing a project doesn't change them, and their versions belong to the environment.

Two kinds of code count:

- What an import of the step's module runs: every statement at the top level of each module on the way, and in the
  bodies of classes there. Any of it may change what the step sees. An import doesn't run the bodies of functions, so a
  new function or step leaves the digests of the others as they are.
- Functions and classes that are reached by name from the step or from that code, whole. A decorator that isn't known to
  be inert, `__init_subclass__`, a metaclass or `__subclasses__` reaches what it may have put into a registry.

If names can't be followed (a module used as a value, `getattr(module, name)`, `globals()`, `eval`), the whole module
counts, and of a package also its modules that something imports. If an import runs code that loads modules by computed
names, all modules in its folder and in that of the importing module count. So the digest may make a step run again
without need, but is meant never to give a stale result. What no static reading can
What no static reading can
see, a module that a step imports by a computed name for instance, is noted when the step runs (`loaded_modules`), and
`code_of_files` reads it again for the next look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from rayform_runtime.usercode.module_index import FileStamp
from rayform_runtime.usercode.reached_code import ProjectSnapshot, StepCode, Walk, plain_function

__all__ = ["ProjectSnapshot", "StepCode", "code_of_files", "source_digest", "step_code"]


class _Known(NamedTuple):
    """The code of a step, and the stamps of the files that it was read from."""

    code: StepCode
    stamps: dict[str, FileStamp]


_known: dict[tuple[object, ...], _Known] = {}
"""Code that files alone decide, by functions: a pipeline that calls one step fifty times asks fifty times."""


def source_digest(
    function: Callable[..., object], *, also: Iterable[object] = (), snapshot: ProjectSnapshot | None = None
) -> str:
    """Return the digest of a function's code and of the project code that it reaches.

    Args:
        function: the step's own function, or an object that wraps one (`__wrapped__`).
        also: other functions or classes whose code decides the result, such as materializers.
        snapshot: shares what was read of the project's files with other calls; by default a new one.

    Returns:
        hexadecimal digits. Equal code has equal digits in another folder, or on another machine with the same version
        of Python. Comments and layout don't count.

    Example:
        >>> def double(number: int) -> int:
        ...     return 2 * number
        >>> len(source_digest(double))
        40
    """
    return step_code(function, also=also, snapshot=snapshot).digest


def step_code(
    function: Callable[..., object], *, also: Iterable[object] = (), snapshot: ProjectSnapshot | None = None
) -> StepCode:
    """Return the code that a step can reach; the arguments are those of `source_digest`."""
    snapshot = snapshot or ProjectSnapshot()
    roots = tuple(map(plain_function, (function, *also)))
    known = _known.get(roots)
    if known is not None and all(snapshot.stamp(file) == stamp for file, stamp in known.stamps.items()):
        return known.code
    walk = Walk(snapshot)
    for root in roots:
        walk.start(root)
    code = walk.code()
    if walk.is_static:
        _known[roots] = _Known(code, {file: snapshot.stamp(file) for file in code.files})
    return code


def code_of_files(places: Iterable[str], root: Path, snapshot: ProjectSnapshot | None = None) -> StepCode:
    """Return the code of files that a step loaded while it ran, and of what these reach.

    Args:
        places: files relative to `root`, or absolute, for whole files; `FILE:NAME` for one class or function in it.
        root: the project's folder.
        snapshot: as in `source_digest`.
    """
    walk = Walk(snapshot or ProjectSnapshot())
    for place in places:
        file, _, name = place.partition(":")
        walk.add_file(str(root / file), name)
    return walk.code()
