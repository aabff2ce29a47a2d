"""The one error tree: every error that Rayform raises on purpose is a `RayformError`.

An error says what happened, why, and what to do next. Only `rayform.cli.main` turns one into an exit code;
everywhere else it travels as an exception.

Exit codes (documented in `docs/exit-codes.md`):

| code | class | means |
| --- | --- | --- |
| 1 | `RayformError`, `PipelineFailedError` | the work itself failed: a step raised, a run ended `failed` |
| 2 | `UsageError` | wrong input: arguments, YAML, parameters, types |
| 3 | `NotFoundError` | the named thing doesn't exist |
| 4 | `ConflictError` | the named thing exists already, is locked or in use |
| 5 | `PrerequisiteError` | this machine lacks something: a tool, a package, a daemon, disk, permission |
| 6 | `RemoteError` | a cloud, registry, cluster or database refused or did not answer |
| 7 | `IntegrityError` | stored data is missing, corrupt or from a newer version |
| 130 | | interrupted by Ctrl-C |
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ConflictError",
    "IntegrityError",
    "NotFoundError",
    "PipelineFailedError",
    "PrerequisiteError",
    "RayformError",
    "RemoteError",
    "UsageError",
    "nearest",
]


def nearest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the `candidates` that look most like `name`, best first.

    Example:
        >>> nearest("defualt", ["default", "prod"])
        ['default']
    """
    known = list(dict.fromkeys(candidates))
    folded = {c.casefold(): c for c in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), folded, n=limit, cutoff=0.5)
    return [folded[c] for c in close]


class RayformError(Exception):
    """An error that Rayform raises on purpose.

    Args:
        message: what happened, naming the thing.
        why: the cause, where it is known and not plain from the message.
        hint: what to do next.

    Example:
        >>> str(RayformError("Step 'train' failed.", why="It ran out of memory.", hint="Ask for more."))
        "Step 'train' failed. It ran out of memory. Ask for more."
    """

    exit_code: int = 1

    def __init__(self, message: str, *, why: str | None = None, hint: str | None = None) -> None:
        self.message = message
        self.why = why
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.why, self.hint) if part)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (workers, Ray): rebuild without calling __init__ of subclasses
        # that take other arguments.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[RayformError], args: tuple[object, ...], state: dict[str, object]) -> RayformError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PipelineFailedError(RayformError):
    """A run ended without success; its steps carry the person's own tracebacks."""

    def _render_traceback_(self) -> list[str]:
        """Tell IPython what to show in a notebook: the frames between cell and scheduler help nobody."""
        parts = (f"{type(self).__name__}: {self.message}", self.why, self.hint)
        return [line for part in parts if part for line in part.splitlines()]


class UsageError(RayformError):
    """Wrong input: an argument, a key, a value, a type. Nothing was changed."""

    exit_code = 2


def _shown(name: str) -> str:
    """Write a name that may come from anywhere: without control characters, and not endless."""
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name[:300])
    return printable + "…" * (len(name) > 300)


class NotFoundError(RayformError):
    """The named thing doesn't exist; the message names its nearest neighbours.

    Args:
        kind: what was asked for, such as `"stack"`.
        name: the name that was asked for.
        known: names that exist.
        within: where it was looked for, such as `"of artifact 'rows'"`.

    Example:
        >>> str(NotFoundError("stack", "defualt", known=["default"]))
        "There is no stack 'defualt'. Did you mean 'default'?"
    """

    exit_code = 3

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        known: Iterable[str] = (),
        within: str = "",
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        known = list(known)
        self.kind = kind
        self.name = name
        self.neighbours = nearest(name, known)
        if hint is None:
            if self.neighbours:
                hint = "Did you mean " + " or ".join(f"'{n}'" for n in self.neighbours) + "?"
            elif known:
                shown = ", ".join(f"'{n}'" for n in known[:5])
                hint = (
                    f"There {'is' if len(known) == 1 else 'are'}: {shown}{', …' if len(known) > 5 else ''}."
                )
        place = f" {within}" if within else ""
        super().__init__(f"There is no {kind} '{_shown(name)}'{place}.", why=why, hint=hint)


class ConflictError(RayformError):
    """The named thing exists already, is locked by another, or is in use. Nothing was changed."""

    exit_code = 4


class PrerequisiteError(RayformError):
    """This machine lacks something: a tool, a package, a running daemon, disk space, permission."""

    exit_code = 5


class RemoteError(RayformError):
    """A cloud, registry, cluster or database refused, or did not answer."""

    exit_code = 6


class IntegrityError(RayformError):
    """Stored data is missing, corrupt, or written by a newer version."""

    exit_code = 7
