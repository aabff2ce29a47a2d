"""The materializer interface, and the materializers that users define."""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path

__all__ = [
    "Materializer",
    "NotProvedError",
    "content_of",
    "needs",
    "prove_saved",
    "register",
    "short",
    "unregister",
    "user_materializer",
    "user_types",
]

_PROVED, _PROVED_FILES = 1 << 20, 100
"""Bytes and files; larger values are loaded by no proof that a materializer doesn't define itself."""

_user_materializers: dict[type, type[Materializer]] = {}
_registering = threading.Lock()


def content_of(files: Mapping[str, bytes], name: str) -> bytes:
    """Return the content of the file with this name.

    Raises:
        CorruptArtifactError: there is no such file, since another materializer saved the value.
    """
    if name not in files:
        from rayform_runtime.artifacts.stores.interface import CorruptArtifactError

        raise CorruptArtifactError(
            f"An artifact has no file '{name}'.",
            why=f"It has {', '.join(sorted(files))}, so another materializer saved it.",
            hint="Load it with the materializer that the catalog names.",
        )
    return files[name]


def short(text: str, limit: int = 72) -> str:
    """Return `text` on one line of at most `limit` characters."""
    line = " ".join(text[: limit * 8].split())
    if not line.isascii():  # lone surrogates can't be written to a catalog or a terminal
        line = line.encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= limit else line[: limit - 1] + "…"


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a failed import into an error that names the extra of `rayform` that installs the package.

    Raises:
        PrerequisiteError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from rayform_core.errors import PrerequisiteError

        raise PrerequisiteError(
            f"A value can't be stored or loaded without the Python package '{error.name}'.",
            hint=f"Install it: pip install 'rayform[{extra}]'.",
        ) from error


class NotProvedError(UsageError):
    """A value was not stored, since what was written doesn't load as the same value."""

    @classmethod
    def of(cls, value: object, why: str, hint: str) -> NotProvedError:
        """Return the error for a value; `why` says what would be lost."""
        return cls(
            f"A value of type '{import_path(type(value))}' can't be stored: it would not come back as it is.",
            why=why,
            hint=hint,
        )


def _definer(kind: type, name: str) -> type:
    return next(base for base in kind.__mro__ if name in base.__dict__)


class Materializer(abc.ABC):
    """Saves and loads values of the types in `ASSOCIATED_TYPES`.

    As soon as a subclass with `ASSOCIATED_TYPES` is defined, it takes values of these types and of their subclasses.
    Of two for one type, the one defined last wins. A type that Rayform itself has a materializer for keeps that one,
    since others rely on it: choose yours for an output (`ArtifactConfig(materializer=...)`, `output_materializers=`),
    or for everything with `register(dict, MyMaterializer)`. Rayform builds a new instance, without arguments, for
    each value.

    Attributes:
        ASSOCIATED_TYPES: the types.
        ASSOCIATED_ARTIFACT_TYPE: the kind of value that users see, an `ArtifactType`.
        RUNS_CODE: whether loading runs code that the files hold, as a pickle does. Then only values are loaded that
            this machine made, or that the reader trusts. Set it in a class whose `load` unpickles.
        NEEDS_DATA_TYPE: if false, a value loads though its type can't be imported; `load` then gets `object`.

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
    RUNS_CODE: ClassVar[bool] = False
    NEEDS_DATA_TYPE: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        # Only types that this very class names: a subclass must not replace its base by accident.
        for kind in cls.__dict__.get("ASSOCIATED_TYPES", ()):
            if not _has_own(kind):
                register(kind, cls)

    # Values are `Any` in all materializers that users may extend: a subclass annotates its own type.
    @abc.abstractmethod
    def save(self, value: Any, folder: Path) -> None:
        """Write `value` into the empty folder, as plain files and folders with any names."""

    @abc.abstractmethod
    def load(self, folder: Path, data_type: type) -> Any:
        """Return the value that `save` wrote into `folder`.

        Args:
            folder: holds the files, verified. Only read from it, and only until this method returns; a file that is
                mapped into memory stays readable.
            data_type: the type that was saved, or the type that the caller asks for.
        """

    def to_files(self, value: Any) -> dict[str, bytes] | None:
        """Return the files that `save` would write, `{path: content}`, or `None` if the value needs a folder.

        Optional, together with `from_files`: a store then keeps small values in their manifest, and they need no
        temporary folder. A subclass that overrides only `save` or `load` switches this off.
        """
        return None

    def from_files(self, files: Mapping[str, bytes], data_type: type) -> Any:
        """Return the value that `to_files` turned into files; `data_type` is as in `load`.

        Raises:
            UsageError: the class defines `to_files` without `from_files`.
        """
        # Not abstract, since most materializers define neither; Rayform asks `needs_no_folder` before it comes here.
        raise UsageError(
            f"{type(self).__name__} can't read values from files in memory.",
            hint="Define from_files together with to_files, in the same class as save and load.",
        )

    @classmethod
    def needs_no_folder(cls) -> bool:
        """Whether `to_files` and `from_files` are defined in the same classes as `save` and `load`."""
        return _definer(cls, "save") is _definer(cls, "to_files") and _definer(cls, "load") is _definer(
            cls, "from_files"
        )

    def prove(self, value: Any, folder: Path) -> None:
        """Check that what `save` wrote into the folder loads as the value; `save_value` calls it before it commits.

        This loads small values. A subclass may compare, and check the structure of files that take long to load.

        Raises:
            NotProvedError: the value would not come back.
        """
        files = [path for path in folder.rglob("*") if path.is_file()]
        if len(files) <= _PROVED_FILES and sum(path.stat().st_size for path in files) <= _PROVED:
            self._try(value, lambda: self.load(folder, type(value)))

    def prove_files(self, value: Any, files: Mapping[str, bytes]) -> None:
        """Check that what `to_files` returned gives the value; like `prove`.

        Raises:
            NotProvedError: the value would not come back.
        """
        if sum(map(len, files.values())) <= _PROVED:
            self._try(value, lambda: self.from_files(files, type(value)))

    def _try(self, value: Any, load: Callable[[], Any]) -> None:
        try:
            load()
        except Exception as error:
            raise NotProvedError.of(
                value,
                f"{type(self).__name__} can't load what it has written: {type(error).__name__}: {error}",
                "Correct the materializer. Nothing was stored.",
            ) from error

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return facts about the value that is being saved, as JSON."""
        return {}

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Draw pictures of the value into `folder`.

        Returns:
            the kind of each file (`html`, `image`, `csv`, `markdown`, `json`) by its path in `folder`.
        """
        return {}

    def summary(self, value: Any) -> str:
        """Return one short line that shows users what the value is."""
        return type(value).__name__


def prove_saved(worker: Materializer, value: object, folder: Path) -> None:
    """Check that what `worker.save` wrote into the folder loads as the value.

    A subclass that overrides `save` or `load` may write other files than the `prove` that it inherits knows, so these
    are only loaded.

    Raises:
        NotProvedError: the value would not come back.
    """
    kind = type(worker)
    prover = _definer(kind, "prove")
    if all(issubclass(prover, _definer(kind, name)) for name in ("save", "load")):
        worker.prove(value, folder)
    else:
        Materializer.prove(worker, value, folder)


def _has_own(kind: object) -> bool:
    """Whether Rayform itself has a materializer for exactly this type."""
    from rayform_runtime.artifacts.materializers.registry import is_built_in

    return isinstance(kind, type) and is_built_in(kind)


def register(kind: type, materializer: type[Materializer]) -> None:
    """Let `materializer` take `kind` and its subclasses, ahead of any built-in materializer.

    Defining a `Materializer` with `ASSOCIATED_TYPES` calls this for types that Rayform has no materializer for. Call
    it yourself to give a type to an existing materializer, for instance `register(Sketch, CloudpickleMaterializer)`,
    or to replace a built-in one for all values of its type.

    Raises:
        UsageError: `kind` isn't a type, or `materializer` isn't a materializer.
    """
    if not isinstance(kind, type) or kind is object:
        raise UsageError(
            f"{materializer.__name__} can't be associated with {kind!r}.",
            why="ASSOCIATED_TYPES lists classes, and `object` would take every value there is.",
            hint="Name the classes whose values it takes.",
        )
    if not (isinstance(materializer, type) and issubclass(materializer, Materializer)):
        raise UsageError(
            f"{materializer!r} is not a materializer.", hint="Write a class that extends Materializer."
        )
    with _registering:
        _user_materializers[kind] = materializer


def unregister(kind: type) -> None:
    """Forget the user-defined materializer of `kind`; none is no error."""
    with _registering:
        _user_materializers.pop(kind, None)


def user_materializer(kind: type) -> type[Materializer] | None:
    """Return the user-defined materializer of exactly this type, or `None`."""
    return _user_materializers.get(kind)


def user_types() -> list[type]:
    """Return the types that have a user-defined materializer."""
    return list(_user_materializers)
