"""The open stacks of this process. Each is opened once, so that connections and warm workers are shared."""

from __future__ import annotations

import atexit
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rayform.stacks import StackRecord, active_stack
from rayform.stacks.components import read_component
from rayform_core.errors import IntegrityError

if TYPE_CHECKING:
    from rayform_runtime.catalog.interface import Catalog
    from rayform_runtime.components import Stack, StackSpec

__all__ = ["close_stacks", "open_catalog", "open_stack"]

_stacks: dict[str, Stack] = {}
_catalogs: dict[tuple[str, str], Catalog] = {}
_lock = threading.Lock()


def open_stack(stack: str | StackSpec | None = None) -> Stack:
    """Open a stack by name, or the active one. A process opens each stack once and closes it at its end."""
    from rayform_runtime.components import ComponentKind, Stack, StackSpec

    spec = stack if isinstance(stack, StackSpec) else active_stack(stack)
    key = spec.model_dump_json()
    with _lock:
        if key not in _stacks:
            _close_at_exit()
            catalog = spec.components.get(ComponentKind.CATALOG)
            store = spec.components.get(ComponentKind.ARTIFACT_STORE)
            if catalog is not None and store is not None and catalog.flavor == "sqlite":
                _refuse_emptied(catalog.config.get("path"), store.config.get("path"))
            _stacks[key] = Stack(spec)
        return _stacks[key]


def open_catalog(stack: StackRecord) -> Catalog | None:
    """Open a stack's catalog without the rest of the stack; return `None` if that isn't possible.

    It is possible if the catalog is a SQLite file. Then a command that only reads the catalog doesn't import pydantic,
    which halves the duration of commands such as `rayform runs list`.
    """
    component = read_component("catalog", stack.components["catalog"])
    path = component.config.get("path")
    if component.flavor != "sqlite" or len(component.config) != 1 or not isinstance(path, str):
        return None
    from rayform_runtime.catalog.sql.catalog import SQLCatalog

    with _lock:
        key = (stack.name, path)
        if key not in _catalogs:
            _close_at_exit()
            _refuse_emptied(
                path, read_component("artifact-store", stack.components["artifact-store"]).config.get("path")
            )
            _catalogs[key] = SQLCatalog.in_file(path, stack_name=stack.name)
        return _catalogs[key]


def _refuse_emptied(catalog: object, store: object) -> None:
    """Refuse a catalog's file without content next to a store that holds artifacts: another program emptied it.

    An empty file would become a new catalog, and read as "no runs".

    Args:
        catalog: the path of a SQLite catalog.
        store: the path of the local artifact store, or `None` for a remote one, which isn't looked at.

    Raises:
        IntegrityError: the catalog was emptied.
    """
    if not (isinstance(catalog, str) and isinstance(store, str)):
        return
    file = Path(catalog).expanduser()
    try:
        if file.stat().st_size:
            return
        versions = next((Path(store).expanduser() / "versions").iterdir(), None)
    except OSError:
        return  # there is no catalog yet, or no store; what can't be read is reported on first use
    if versions is not None:
        raise IntegrityError(
            f"The catalog '{file}' was emptied.",
            why=f"The file has no content, and the store '{store}' holds artifacts that it recorded.",
            hint="Restore the file from a backup. To begin a new catalog instead, which doesn't know these artifacts, "
            f"delete it: rm {file}",
        )


def _close_at_exit() -> None:
    if not _stacks and not _catalogs:
        atexit.register(close_stacks)


def close_stacks() -> None:
    """Close all open stacks and catalogs, and so release their connections and workers."""
    atexit.unregister(close_stacks)
    with _lock:
        while _stacks:
            _stacks.popitem()[1].close()
        while _catalogs:
            _catalogs.popitem()[1].close()
