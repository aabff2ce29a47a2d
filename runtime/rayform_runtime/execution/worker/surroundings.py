"""What a step may change of the process that it shares with the steps after it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import NoReturn

__all__ = ["Surroundings"]


def _encoded_variables() -> dict[bytes, bytes]:
    """Return this process's variables as the kernel has them.

    What `os.environb` wraps, where it can be had: its own copy decodes and encodes each of them, which took a
    twentieth of what a trivial step costs.
    """
    known = getattr(os.environb, "_data", None)
    return known if isinstance(known, dict) else dict(os.environb)


class Surroundings:
    """The state of a worker process before a step's function is called.

    Workers stay warm, and which steps share one is chance: a folder that one of them changed to, a mask, a stream
    or a variable that it took away must not be met by the next. Variables and import paths that a step *added* stay,
    since a module that is imported only once may have set them for all that use it later.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        try:
            self._folder: str | None = os.getcwd()  # noqa: PTH109 - on the way to every step's first line
        except OSError:
            self._folder = None  # it was deleted
        self._variables = _encoded_variables().copy()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._import_path = list(sys.path)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)

    def leave_if_forked(self, error: BaseException | None = None) -> None:
        """End this process where it is a child that the step forked and that came out of the step's function.

        It holds the worker's connection too, and would answer in its parent's place.
        """
        if os.getpid() != self._pid:
            self._leave(error)

    def restore_for_saving(self) -> None:
        """Put back streams, the mask of new files and the import path: what saving the outputs needs."""
        sys.stdin, sys.stdout, sys.stderr = self._streams
        os.umask(self._mask)
        if sys.path[: len(self._import_path)] != self._import_path:
            added = [entry for entry in sys.path if entry not in self._import_path]
            sys.path[:] = [*added, *self._import_path]

    def restore(self) -> None:
        """Put back all of it."""
        self.restore_for_saving()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        now = _encoded_variables()
        if now != self._variables:
            for name, value in self._variables.items():
                if now.get(name) != value:
                    os.environb[name] = value

    def _leave(self, error: BaseException | None) -> NoReturn:
        code = 0
        try:
            if isinstance(error, SystemExit):
                code = error.code if isinstance(error.code, int) else int(error.code is not None)
            elif error is not None:
                code = 1
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
