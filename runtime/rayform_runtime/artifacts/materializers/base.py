"""The materializer interface, and how a person's own materializers make themselves known."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["Materializer", "content_of", "needs", "short"]


def content_of(files: Mapping[str, bytes], name: str) -> bytes:
    """Return a file's content.

    Raises:
        CorruptArtifactError: there is no such file: another materializer saved the value.
    """
    if name not in files:
        from rayform_runtime.artifacts.stores.interface import CorruptArtifactError

        raise CorruptArtifactError(
            f"An artifact has no file '{name}'.",
            why=f"It has {', '.join(sorted(files))}: another materializer saved it.",
            hint="Load it with the materializer that the catalog names.",
        )
    return files[name]


def short(text: str, limit: int = 72) -> str:
    """Return `text` on one line of at most `limit` characters."""
    line = " ".join(text[: limit * 8].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a package that is missing into an error that names the extra of `rayform` which brings it.

    Raises:
        PrerequisiteError: an import inside failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from rayform_core.errors import PrerequisiteError

        raise PrerequisiteError(
            f"A value can't be stored or loaded without the Python package '{error.name}'.",
            hint=f"Install it: pip install 'rayform[{extra}]'.",
        ) from error


def _definer(kind: type, name: str) -> type:
    return next(base for base in kind.__mro__ if name in base.__dict__)


class Materializer(abc.ABC):
    """Saves and loads values of the types in `ASSOCIATED_TYPES`.

    A subclass that names types is found for them, and for their subclasses, as soon as it is defined; the one
    defined last wins. It is built without arguments, anew for each value.

    Attributes:
        ASSOCIATED_TYPES: the types.
        ASSOCIATED_ARTIFACT_TYPE: what their values are to people, an `ArtifactType`.

    Example:
        >>> class PointMaterializer(Materializer):
        ...     ASSOCIATED_TYPES = (Point,)
        ...
        ...     def save(self, value, folder):
        ...         (folder / "point.txt").write_text(f"{value.x} {value.y}")
        ...
        ...     def load(self, folder, data_type):
        ...         x, y = (folder / "point.txt").read_text().split()
        ...         return data_type(float(x), float(y))  # doctest: +SKIP
    """

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = ()
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[str] = "data"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Only types named by this very class: a subclass of a materializer doesn't take its place by accident.
        if cls.__dict__.get("ASSOCIATED_TYPES"):
            from rayform_runtime.artifacts.materializers.registry import register

            for kind in cls.__dict__["ASSOCIATED_TYPES"]:
                register(kind, cls)

    @abc.abstractmethod
    def save(self, value: Any, folder: Path) -> None:
        """Write `value` into the empty folder, as plain files and folders under any names."""

    @abc.abstractmethod
    def load(self, folder: Path, data_type: type) -> Any:
        """Return the value that `save` wrote into `folder`.

        Args:
            folder: its files, verified; for reading only, and only until this returns (a file that is mapped
                into memory stays).
            data_type: the type that was saved, or the one that the caller asks for.
        """

    def to_files(self, value: Any) -> dict[str, bytes] | None:
        """Return what `save` would write, `{path: content}`, where that takes no folder; `None` where it does.

        Optional, with `from_files`: small values then travel without a temporary folder, since a store keeps them
        in their manifest. Whoever overrides `save` or `load` alone switches it off.
        """
        return None

    def from_files(self, files: Mapping[str, bytes], data_type: type) -> Any:
        """Return the value that `to_files` gave; `data_type` is as in `load`.

        Raises:
            UsageError: the class has `to_files` alone.
        """
        from rayform_core.errors import UsageError

        # Not abstract, since most materializers have neither; `needs_no_folder` keeps everyone of ours away from here.
        raise UsageError(
            f"{type(self).__name__} reads values from folders alone.",
            hint="Define from_files beside to_files, in the same class as save and load.",
        )

    @classmethod
    def needs_no_folder(cls) -> bool:
        """Whether `to_files` and `from_files` stand for this very class's `save` and `load`."""
        return _definer(cls, "save") is _definer(cls, "to_files") and _definer(cls, "load") is _definer(
            cls, "from_files"
        )

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return what is worth knowing of the value, as JSON; called with the value that is saved."""
        return {}

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Write pictures of the value into `folder`.

        Returns:
            the kind of each file (`html`, `image`, `csv`, `markdown`, `json`) by its path in `folder`.
        """
        return {}

    def summary(self, value: Any) -> str:
        """Return one short line that tells a person what the value is."""
        return type(value).__name__
