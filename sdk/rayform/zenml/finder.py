"""Makes the modules of `rayform.zenml` that have no files, from the table in `rayform.zenml.paths`."""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

from rayform.zenml.paths import EXPORTS, is_package, lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["install"]

_PREFIX = "rayform.zenml."


class _Finder(MetaPathFinder, Loader):
    """Finds ZenML's modules below `rayform.zenml`; Python asks it after it looked for files."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        name = fullname.removeprefix(_PREFIX)
        if name not in EXPORTS and not is_package(name):
            return None
        return ModuleSpec(fullname, self, origin="rayform.zenml.paths", is_package=is_package(name))

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.removeprefix(_PREFIX)

        def get(attribute: str) -> object:
            value = lookup(name, attribute)
            setattr(module, attribute, value)
            return value

        module.__doc__ = f"ZenML's module `zenml.{name}`, made of Rayform's; see `rayform.zenml`."
        vars(module)["__getattr__"] = get
        module.__all__ = sorted(EXPORTS.get(name, {}))  # type: ignore[attr-defined]


def install() -> None:
    """Let Python find the modules. Idempotent."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
