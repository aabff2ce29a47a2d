"""`BaseMaterializer`: a materializer that reads and writes files under `self.uri`, as ZenML's do."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.base import Materializer, register
from rayform_runtime.artifacts.materializers.registry import materializer_for

__all__ = ["BaseMaterializer", "materializer_registry"]


class BaseMaterializer(Materializer):
    """A materializer in ZenML's form: `save(data)` and `load(data_type)` work with files under `self.uri`.

    `self.uri` is a folder of this machine. What `save` writes there is stored when it returns, and what it reads there
    in `load` is a copy of what was stored. `fileio`, `os.path` and `open` all work on it.

    Args:
        uri: a folder, to use the materializer by hand; Rayform itself gives none.

    Example:
        >>> class PointMaterializer(BaseMaterializer):
        ...     ASSOCIATED_TYPES = (Point,)
        ...
        ...     def save(self, data):
        ...         with fileio.open(os.path.join(self.uri, "point.txt"), "w") as file:
        ...             file.write(f"{data.x} {data.y}")
        ...
        ...     def load(self, data_type):
        ...         with fileio.open(os.path.join(self.uri, "point.txt")) as file:
        ...             return data_type(*map(float, file.read().split()))  # doctest: +SKIP
    """

    SKIP_REGISTRATION: ClassVar[bool] = False

    def __init__(self, uri: str = "", artifact_store: object = None) -> None:
        self.uri = str(uri)

    def __init_subclass__(cls, **kwargs: object) -> None:
        for name, adapt in _ADAPTERS.items():
            if name in cls.__dict__:
                setattr(cls, name, adapt(cls.__dict__[name]))
        if cls.__dict__.get("SKIP_REGISTRATION"):
            own, cls.ASSOCIATED_TYPES = cls.ASSOCIATED_TYPES, ()
            super().__init_subclass__(**kwargs)
            cls.ASSOCIATED_TYPES = own
        else:
            super().__init_subclass__(**kwargs)

    @property
    def artifact_store(self) -> Any:
        """What reads and writes files under `self.uri`: `open`, `exists`, `listdir`, `makedirs` and the like."""
        from rayform.zenml.forms import fileio

        return fileio

    def save(self, data: Any, folder: Path | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write `data` to files under `self.uri`.

        Raises:
            UsageError: the class doesn't define it.
        """
        raise UsageError(f"{type(self).__name__} has no method `save(self, data)`.")

    def load(self, folder: Any, data_type: Any = None) -> Any:
        """Return the value whose files are under `self.uri`.

        Raises:
            UsageError: the class doesn't define it.
        """
        raise UsageError(f"{type(self).__name__} has no method `load(self, data_type)`.")

    def save_visualizations(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, data: Any, folder: Path | None = None
    ) -> dict[str, Any]:
        """Draw pictures under `self.uri` and return the kind of each by its path; none by default."""
        return {}

    @contextlib.contextmanager
    def get_temporary_directory(self, delete_at_exit: bool = True, **_: object) -> Iterator[str]:
        """Give a folder for temporary files, which is deleted at the end of the `with` block.

        Args:
            delete_at_exit: `False` keeps it.
        """
        folder = tempfile.mkdtemp(prefix="rayform-materializer-")
        try:
            yield folder
        finally:
            if delete_at_exit:
                import shutil

                shutil.rmtree(folder, ignore_errors=True)


# Each adapter lets a method be called both ways: by Rayform with a folder, and by users, and by `super()`, without.
def _adapt_save(save: Callable[[Any, Any], None]) -> Callable[..., None]:
    @functools.wraps(save)
    def adapted(self: BaseMaterializer, data: Any, folder: Path | None = None) -> None:
        if folder is not None:
            self.uri = str(folder)
        save(self, data)

    return adapted


def _adapt_load(load: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    def adapted(self: BaseMaterializer, first: Any, data_type: type | None = None) -> Any:
        if data_type is None:
            return load(self, first)
        self.uri = str(first)
        return load(self, data_type)

    return adapted


def _adapt_pictures(draw: Callable[[Any, Any], Mapping[str, object]]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(draw)
    def adapted(self: BaseMaterializer, data: Any, folder: Path | None = None) -> dict[str, Any]:
        if folder is None:
            return dict(draw(self, data))
        saved, self.uri = self.uri, str(folder)
        try:
            kinds = draw(self, data)
        finally:
            self.uri = saved
        return {
            str(Path(path).relative_to(folder)) if Path(path).is_absolute() else path: str(
                getattr(kind, "value", kind)
            )
            for path, kind in kinds.items()
        }

    return adapted


_ADAPTERS: dict[str, Callable[[Any], Any]] = {
    "save": _adapt_save,
    "load": _adapt_load,
    "save_visualizations": _adapt_pictures,
}


class _Registry:
    """ZenML's registry of materializers."""

    def register_and_overwrite_type(self, key: type, type_: type[Materializer]) -> None:
        """Let a materializer take a type and its subclasses, also in place of a built-in one."""
        register(key, type_)

    def register_materializer_type(self, key: type, type_: type[Materializer]) -> None:
        """Let a materializer take a type, unless the type has one."""
        from rayform_runtime.artifacts.materializers.registry import find

        if find(key) is None:
            register(key, type_)

    def __getitem__(self, key: type) -> type[Materializer]:
        return materializer_for(key)


materializer_registry = _Registry()
"""The materializers that take values by their type."""
