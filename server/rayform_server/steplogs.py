"""Reads the logs of steps in parts, so that a log of a gigabyte opens as fast as a short one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rayform_core.errors import NotFoundError
from rayform_runtime.execution.worker.logs import log_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rayform.reading.client import Client
    from rayform_runtime.catalog.entities import StepRun

__all__ = ["Line", "Span", "StepLog", "spans"]

_CHUNK = 1 << 20
_LONGEST = 10_000
"""Characters of a line that are shown."""
_ESCAPE = re.compile(r"\x1b(?:\[([0-9;]*)m|\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one style; `style` is a class of our style sheet, or empty."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log: its number from 1 if it is known, and its text."""

    number: int | None
    text: str


class StepLog:
    """The log of one step run.

    The catalog says where a log is, and others may write the catalog. So a file is only read if its path ends as the
    log of this step run must.

    Args:
        client: a client of the step run's stack.
        step: the step run.
    """

    def __init__(self, client: Client, step: StepRun) -> None:
        self._client = client
        self._key = log_key(step.run_id, step.id)
        # The log on this machine; `None` if it isn't here.
        self._path: Path | None = None
        # The whole log, once it was read from the stack's store; a store only returns the end of an object.
        self._content: bytes | None = None
        self._uri = step.log_uri
        parts = urlsplit(step.log_uri or "")
        if parts.scheme == "file" and parts.netloc in ("", "localhost"):
            path = Path(unquote(parts.path))
            if path.as_posix().endswith("/" + self._key) and not path.is_symlink():
                self._path = path

    def size(self) -> int:
        """Return how many bytes the log has now."""
        if self._path is None:
            return len(self._whole())
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` bytes from byte `start` on."""
        if self._path is None:
            return self._whole()[start : start + length]
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError:
            return b""

    def _whole(self) -> bytes:
        if self._content is None:
            self._content = b""
            store = (
                None if self._uri is None or self._uri.startswith("file:") else self._client.artifact_store
            )
            if store is not None and store.key_of(self._uri or "") == self._key:
                try:
                    self._content = store.get_bytes(self._key)
                except NotFoundError:
                    pass  # nothing was printed, or the log isn't there yet
        return self._content

    def chunks(self) -> Iterator[bytes]:
        """Yield the log in parts that end with whole lines."""
        start, rest = 0, b""
        while part := self.read(start, _CHUNK):
            start += len(part)
            head, newline, tail = (rest + part).rpartition(b"\n")
            if newline or len(tail) > 8 * _CHUNK:
                yield head + newline if newline else tail
                rest = tail if newline else b""
            else:
                rest = tail
        if rest:
            yield rest

    def before(self, end: int | None, length: int) -> tuple[int, list[Line]]:
        """Return the lines that end before byte `end` (by default at the end), and where they begin."""
        end = self.size() if end is None else min(end, self.size())
        start = max(end - length, 0)
        data = self.read(start, end - start)
        if start:
            skipped = data.find(b"\n") + 1
            start, data = start + skipped, data[skipped:]
        return start, [Line(None, text) for text in lines_of(data)]

    def search(self, text: str, limit: int) -> tuple[list[Line], bool]:
        """Return up to `limit` lines that contain a text, whatever its case, and whether there are more."""
        wanted = text.lower().encode()
        found: list[Line] = []
        number = 1
        for chunk in self.chunks():
            lowered, position, counted = chunk.lower(), 0, 0
            while (at := lowered.find(wanted, position)) >= 0:
                begin = chunk.rfind(b"\n", 0, at) + 1
                end = chunk.find(b"\n", at)
                end = len(chunk) if end < 0 else end
                if len(found) == limit:
                    return found, True
                number += chunk.count(b"\n", counted, begin)
                counted = begin
                found.append(Line(number, chunk[begin:end].decode(errors="replace")))
                position = end + 1
            number += chunk.count(b"\n", counted)
        return found, False


def lines_of(data: bytes) -> list[str]:
    """Return the lines of a part of a log."""
    lines = data.decode(errors="replace").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines


def spans(text: str) -> list[Span]:
    """Return a line as text in styles: colours of terminals become classes, other control codes are left out."""
    text = text[:_LONGEST].rsplit("\r", 1)[-1] if not text.endswith("\r") else text[:_LONGEST].rstrip("\r")
    parts: list[Span] = []
    position, style = 0, ""
    for match in _ESCAPE.finditer(text):
        if match.start() > position:
            parts.append(Span(_CONTROL.sub("", text[position : match.start()]), style))
        if match[1] is not None:
            style = _style(match[1], style)
        position = match.end()
    if position < len(text) or not parts:
        parts.append(Span(_CONTROL.sub("", text[position:]), style))
    return parts


def _style(codes: str, style: str) -> str:
    for code in codes.split(";"):
        if code in ("", "0", "39"):
            style = ""
        elif code == "1":
            style = style or "bold"
        elif code in ("31", "32", "33", "34", "35", "36", "91", "92", "93", "94", "95", "96"):
            style = f"c{code[1]}"
        elif code in ("2", "90"):
            style = "faint"
    return style
