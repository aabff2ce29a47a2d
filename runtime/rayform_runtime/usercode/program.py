"""The program that a run belongs to: what `__main__` and `sys.argv` mean to the user's code in every process of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rayform_runtime.spec import ProgramSpec
    from rayform_runtime.usercode.code_ref import CodeRef

__all__ = ["NO_PROGRAM", "Program", "as_program", "current_program", "enter_program"]


class Program(NamedTuple):
    """The fields of `spec.ProgramSpec`."""

    argv: Sequence[str] = ()
    file: str | None = None
    module: str | None = None
    types: Sequence[CodeRef] = ()

    @classmethod
    def of(cls, spec: ProgramSpec | None) -> Program:
        """Return the fields of a spec; a run of an earlier Rayform has none."""
        if spec is None:
            return NO_PROGRAM
        from rayform_runtime.usercode.code_ref import CodeRef

        return cls(tuple(spec.argv), spec.file, spec.module, tuple(CodeRef.of(ref) for ref in spec.types))

    def moved(self, old_root: str, new_root: Path) -> Program:
        """Return the same program with the project's code at another place; see `CodeRef.moved`."""

        def move(path: str) -> str:
            try:
                return str(new_root / PurePosixPath(path).relative_to(old_root))
            except ValueError:
                return path

        argv = [move(self.argv[0]), *self.argv[1:]] if self.argv else ()
        return self._replace(argv=argv, file=move(self.file) if self.file else None)


NO_PROGRAM = Program()
"""What a run of an earlier Rayform has."""

_current = NO_PROGRAM
"""The program that this process works for; set by `enter_program`."""


def current_program() -> Program:
    """Return the program that this process works for; empty in a user's own process."""
    return _current


def enter_program(program: Program) -> None:
    """Give this process the command line of a run's program."""
    global _current
    _current = program
    if program.argv and sys.argv != program.argv:
        sys.argv[:] = program.argv


@contextlib.contextmanager
def as_program(program: Program) -> Iterator[None]:
    """Work for a run's program in this context; the process is another program's before and after it."""
    global _current
    before, argv = _current, list(sys.argv)
    enter_program(program)
    try:
        yield
    finally:
        _current = before
        sys.argv[:] = argv
