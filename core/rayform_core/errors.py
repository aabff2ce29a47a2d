"""The error tree: every error that Rayform raises on purpose is a `RayformError`.

An error answers three questions: what happened, why, and what to do next. Choose the class by what the user must do,
name the thing that it is about, and offer the names that look most like a wrong one:

    raise ConflictError(
        f"Stack '{name}' holds data.",
        why="bucket: 12 objects, 3.4 MB.",
        hint="Nothing was touched. Add --delete-data to delete it, or --keep-data to keep it.",
    )

Errors travel as exceptions, also between processes. Only `rayform.cli.main` turns one into an exit code:

| code | class | meaning |
| --- | --- | --- |
| 1 | `RayformError`, `PipelineFailedError` | the work itself failed: a step raised, or a run ended as `failed` |
| 2 | `UsageError` | wrong input: arguments, YAML, parameters, types |
| 3 | `NotFoundError` | the named thing doesn't exist |
| 4 | `ConflictError` | the named thing exists already, is locked, or is in use |
| 5 | `PrerequisiteError` | this machine lacks something: a tool, a package, a daemon, disk space, a permission |
| 6 | `RemoteError` | a cloud, registry, cluster or database refused, or did not answer |
| 7 | `IntegrityError` | stored data is missing, corrupt, or written by a newer version |
| 130 | | the user pressed Ctrl-C |

`docs/exit-codes.md` has the same table for users.
"""

from __future__ import annotations

from collections.abc import Iterable

from rayform_core.terminal import printable

__all__ = [
    "ConflictError",
    "EntityExistsError",
    "IntegrityError",
    "NoContextError",
    "NotFoundError",
    "PipelineFailedError",
    "PrerequisiteError",
    "RayformError",
    "RemoteError",
    "UsageError",
    "nearest",
]


class RayformError(Exception):
    """An error that Rayform raises on purpose.

    Args:
        message: what happened, naming the thing.
        why: the cause, unless the message makes it plain.
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
        # Workers and Ray pickle errors. Rebuild one without `__init__`, which takes other arguments in subclasses.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[RayformError], args: tuple[object, ...], state: dict[str, object]) -> RayformError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PipelineFailedError(RayformError):
    """A run ended without success; its steps have the tracebacks of the user's code."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows (IPython calls this): no frames between the cell and the scheduler."""
        parts = (f"{type(self).__name__}: {self.message}", self.why, self.hint)
        return [line for part in parts if part for line in printable(part).splitlines()]


class UsageError(RayformError):
    """The input is wrong: an argument, a key, a value, a type. Nothing was changed."""

    exit_code = 2


class NoContextError(UsageError, RuntimeError):
    """A step or pipeline is asked about itself where none is running. It is a `RuntimeError` too."""


class NotFoundError(RayformError, KeyError):
    """The named thing doesn't exist; the error names those that look most like it. It is a `KeyError` too.

    Args:
        kind: what was asked for, such as `"stack"`.
        name: the name that was asked for.
        known: names that exist.
        within: where it was looked for, such as `"of artifact 'rows'"`.
        why: see `RayformError`.
        hint: what to do next; by default the nearest of `known`, or the first five if none is near.

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
        names = list(known)
        self.kind = kind
        self.name = name
        self.neighbours = nearest(name, names)
        if hint is None and self.neighbours:
            hint = f"Did you mean {' or '.join(map(_quoted, self.neighbours))}?"
        elif hint is None and names:
            more = ", …" if len(names) > 5 else ""
            hint = f"There {'is' if len(names) == 1 else 'are'}: {', '.join(map(_quoted, names[:5]))}{more}."
        place = f" {within}" if within else ""
        super().__init__(f"There is no {kind} '{_printable(name)}'{place}.", why=why, hint=hint)


class ConflictError(RayformError):
    """The named thing exists already, is locked by another process, or is in use. Nothing was changed."""

    exit_code = 4


class EntityExistsError(ConflictError):
    """A thing of this name, or a version of it, exists already. Nothing was changed."""


class PrerequisiteError(RayformError):
    """This machine lacks something: a tool, a package, a running daemon, disk space, a permission."""

    exit_code = 5


class RemoteError(RayformError):
    """A cloud, registry, cluster or database refused, or did not answer."""

    exit_code = 6


class IntegrityError(RayformError):
    """Stored data is missing, corrupt, or written by a newer version."""

    exit_code = 7


def nearest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the `candidates` that look most like `name`, best first, whatever their case.

    Example:
        >>> nearest("defualt", ["default", "prod"])
        ['default']
    """
    # Reversed, so that of two candidates that differ only in case the first one stays.
    by_folded = {candidate.casefold(): candidate for candidate in reversed(list(candidates))}
    import difflib

    close = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.5)
    return [by_folded[folded] for folded in close]


def _quoted(name: str) -> str:
    return f"'{name}'"


def _printable(name: str) -> str:
    """Return at most 300 characters of a name from anywhere, with its control characters written out."""
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name[:300])
    return printable + "…" * (len(name) > 300)
