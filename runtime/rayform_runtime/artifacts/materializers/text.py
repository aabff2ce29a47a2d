"""`str`, `bytes`, and strings that are pictures, stored as plain text or bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from rayform_runtime.artifacts.materializers.base import Materializer, content_of, short
from rayform_runtime.artifacts.types import VisualizationString

__all__ = ["BytesMaterializer", "StrMaterializer", "VisualizationStringMaterializer"]

# Python strings may hold lone surrogates (file names that aren't UTF-8); plain UTF-8 refuses them.
_ENCODING, _ERRORS = "utf-8", "surrogatepass"


class StrMaterializer(Materializer):
    """Stores a string as a text file."""

    FILE: ClassVar[str] = "value.txt"

    def save(self, value: str, folder: Path) -> None:
        """Write the text."""
        (folder / self.FILE).write_bytes(value.encode(_ENCODING, _ERRORS))

    def load(self, folder: Path, data_type: type) -> str:
        """Read the text."""
        return (folder / self.FILE).read_bytes().decode(_ENCODING, _ERRORS)

    def to_files(self, value: str) -> dict[str, bytes]:
        """Return the text file's content."""
        return {self.FILE: value.encode(_ENCODING, _ERRORS)}

    def from_files(self, files: Mapping[str, bytes], data_type: type) -> str:
        """Return the text."""
        return content_of(files, self.FILE).decode(_ENCODING, _ERRORS)

    def extract_metadata(self, value: str) -> dict[str, object]:
        """Return its length in characters."""
        return {"length": len(value)}

    def summary(self, value: str) -> str:
        """Return the beginning of the text."""
        return short(value) or "empty text"


class BytesMaterializer(Materializer):
    """Stores bytes as a file."""

    def save(self, value: bytes, folder: Path) -> None:
        """Write the bytes."""
        (folder / "value.bin").write_bytes(value)

    def load(self, folder: Path, data_type: type) -> bytes:
        """Read the bytes."""
        return (folder / "value.bin").read_bytes()

    def to_files(self, value: bytes) -> dict[str, bytes]:
        """Return the file's content."""
        return {"value.bin": value}

    def from_files(self, files: Mapping[str, bytes], data_type: type) -> bytes:
        """Return the bytes."""
        return content_of(files, "value.bin")

    def extract_metadata(self, value: bytes) -> dict[str, object]:
        """Return its length in bytes."""
        return {"length": len(value)}

    def summary(self, value: bytes) -> str:
        """Return its length."""
        return f"{len(value):,} bytes"


class VisualizationStringMaterializer(Materializer):
    """Stores HTML, Markdown, CSV and JSON strings, which are shown as they are."""

    def save(self, value: VisualizationString, folder: Path) -> None:
        """Write the text under the suffix of its kind."""
        (folder / f"value.{value.suffix or 'txt'}").write_bytes(value.encode(_ENCODING, _ERRORS))

    def load(self, folder: Path, data_type: type) -> str:
        """Read the text and return it as `data_type`."""
        suffix = getattr(data_type, "suffix", "") or "txt"
        text = (folder / f"value.{suffix}").read_bytes().decode(_ENCODING, _ERRORS)
        value: str = data_type(text)
        return value

    def extract_metadata(self, value: VisualizationString) -> dict[str, object]:
        """Return its length in characters."""
        return {"length": len(value)}

    def save_visualizations(self, value: VisualizationString, folder: Path) -> dict[str, str]:
        """Show the text itself."""
        if not value.kind:
            return {}
        name = f"output.{value.suffix}"
        (folder / name).write_bytes(value.encode(_ENCODING, "replace"))
        return {name: value.kind}

    def summary(self, value: VisualizationString) -> str:
        """Return its kind and beginning."""
        return short(f"{value.kind or 'text'}: {value}")
