"""Watches what a process does while hostile data is loaded: imports, processes, files written, connections."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Watched", "watching"]

_ACTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.rename")
_REMOVALS = ("os.remove", "os.rmdir")
_OWN = f"{tempfile.gettempdir()}/rayform-"
"""What temporary folders of the store and the materializers are called."""
_CONNECTS = ("socket.connect", "socket.bind", "urllib.Request")


@dataclass
class Watched:
    """What happened.

    Args:
        imports: names of the modules that were imported.
        acts: processes, removals, connections, and files that were opened for writing.
        unpickled: the names that pickles asked for.
    """

    imports: list[str] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)
    unpickled: list[str] = field(default_factory=list)


_watched: list[tuple[int, Watched]] = []
_installed: list[bool] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or _watched[-1][0] != threading.get_ident():
        return
    watched = _watched[-1][1]
    if event == "import":
        watched.imports.append(str(arguments[0]))
    elif event in _REMOVALS:
        # A temporary folder of ours is removed file by file, relative to its descriptor.
        if arguments[-1] == -1 and not str(arguments[0]).startswith(_OWN):
            watched.acts.append(f"{event} {arguments!r:.100}")
    elif event in _ACTS or event in _CONNECTS:
        watched.acts.append(f"{event} {arguments!r:.100}")
    elif event == "pickle.find_class":
        watched.unpickled.append(".".join(map(str, arguments)))
    elif event == "open" and _writes(arguments) and not str(arguments[0]).startswith(_OWN):
        watched.acts.append(f"open {arguments!r:.100}")


def _writes(arguments: tuple[object, ...]) -> bool:
    _, mode, flags = arguments
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


@contextlib.contextmanager
def watching() -> Iterator[Watched]:
    """Note what this thread does in the context. A hook can't be removed again, so it stays and sleeps."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    watched = Watched()
    _watched.append((threading.get_ident(), watched))
    # A module that is imported for the first time would write its bytecode, which is no act of the data's.
    writes_bytecode, sys.dont_write_bytecode = not sys.dont_write_bytecode, True
    try:
        yield watched
    finally:
        sys.dont_write_bytecode = not writes_bytecode
        _watched.pop()
