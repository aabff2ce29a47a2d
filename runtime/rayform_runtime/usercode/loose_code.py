"""What can be read of code that no file has: its names, its bytecode and the values in its closure."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator

__all__ = ["bytecode_text", "closure_values", "names_in"]


def closure_values(code: object) -> Iterator[tuple[str, object]]:
    """Return the names and values that a function takes from the functions around it, without itself."""
    bytecode = getattr(code, "__code__", None)
    names, cells = getattr(bytecode, "co_freevars", ()), getattr(code, "__closure__", None) or ()
    for name, cell in zip(names, cells, strict=False):
        try:
            value = cell.cell_contents
        except ValueError:
            continue  # not bound yet
        if value is not code:
            yield name, value


def names_in(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def bytecode_text(code: types.CodeType) -> str:
    constants = [bytecode_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code.hex(), constants, code.co_names, code.co_varnames))
