"""What a migration found in a file: its new content, and the places that a human must look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["FileResult", "Finding", "UnreadableFileError"]


class Finding(NamedTuple):
    """A place that needs a human.

    Args:
        line: counts from 1; 0 for the file as a whole.
        what: the code or text there.
        why: why it needs a human, and what to do.
    """

    line: int
    what: str
    why: str


class UnreadableFileError(Exception):
    """A file can't be parsed, so it isn't touched."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


@dataclass
class FileResult:
    """What became of one file.

    Args:
        content: the new content; `None` if the file stays as it is.
        findings: places that need a human.
    """

    content: bytes | None = None
    findings: list[Finding] = field(default_factory=list)
