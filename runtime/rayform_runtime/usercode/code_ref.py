"""A reference to a user's function or class: the fields of `spec.SourceRef`, without pydantic."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, overload

if TYPE_CHECKING:
    from rayform_runtime.spec import SourceRef

__all__ = ["CodeRef"]


class CodeRef(NamedTuple):
    """The fields of `spec.SourceRef`."""

    module: str
    qualname: str
    file: str | None = None
    pickled: str | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"

    @overload
    @classmethod
    def of(cls, spec: SourceRef) -> CodeRef: ...

    @overload
    @classmethod
    def of(cls, spec: SourceRef | None) -> CodeRef | None: ...

    @classmethod
    def of(cls, spec: SourceRef | None) -> CodeRef | None:
        """Return the fields of a spec; `None` stays `None`."""
        return None if spec is None else cls(spec.module, spec.qualname, spec.file, spec.pickled)

    def moved(self, old_root: str, new_root: Path) -> CodeRef:
        """Return the reference with its file moved from `old_root` to `new_root`.

        A file outside of the project (in an installed package) is dropped: its module is imported by name.

        Args:
            old_root: the project's folder on the machine that traced the pipeline.
            new_root: the project's folder on this machine.
        """
        if not self.file:
            return self
        try:
            file = str(new_root / PurePosixPath(self.file).relative_to(old_root))
        except ValueError:
            return self._replace(file=None)
        return self._replace(file=file)
