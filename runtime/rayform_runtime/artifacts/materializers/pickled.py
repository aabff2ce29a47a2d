"""Pickling, for users who choose it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from rayform_core.errors import IntegrityError, UsageError
from rayform_runtime.artifacts.import_paths import TypeGoneError, import_path
from rayform_runtime.artifacts.materializers.base import Materializer, short
from rayform_runtime.artifacts.pickling import pickler

__all__ = ["CloudpickleMaterializer"]


class CloudpickleMaterializer(Materializer):
    """Pickles a value of any type; used only if the user chooses it.

    Loading a pickle runs any code that it holds. A pickle often doesn't load with other versions of Python or of the
    packages that it was made with.
    """

    RUNS_CODE = True
    NEEDS_DATA_TYPE = False

    def save(self, value: Any, folder: Path) -> None:
        """Write the pickle."""
        try:
            with (folder / "value.pickle").open("wb") as file:
                pickler(file).dump(value)
        except (TypeError, AttributeError, RecursionError, ValueError) as error:
            raise UsageError(
                f"A value of type '{import_path(type(value))}' can't be pickled.",
                why=f"{error}.",
                hint="Write a materializer that stores the data in it.",
            ) from error

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the pickle."""
        with (folder / "value.pickle").open("rb") as file:
            try:
                return pickle.load(file)  # noqa: S301 - a pickle is code; docs/security.md says whose
            except TypeGoneError:
                raise
            except (ImportError, AttributeError, pickle.UnpicklingError, EOFError, TypeError) as error:
                raise IntegrityError(
                    "A pickled value"
                    + (f" of type '{import_path(data_type)}'" if data_type is not object else "")
                    + " can't be loaded.",
                    why=f"{type(error).__name__}: {error}.",
                    hint="Load it with the packages and the code that it was saved with.",
                ) from error

    def summary(self, value: Any) -> str:
        """Return its short form."""
        return short(f"{type(value).__name__} (pickled)")
