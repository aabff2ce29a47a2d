"""Logs of step runs, read from where the run keeps them: the artifact store, or a file while the step runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rayform_core.errors import NotFoundError

if TYPE_CHECKING:
    from rayform_runtime.artifacts.interface import ArtifactStore
    from rayform_runtime.catalog.interface import StepRun

__all__ = ["read_log_bytes", "read_step_log"]


def read_step_log(step: StepRun, store: ArtifactStore) -> str:
    """Return what a step run printed and logged.

    Raises:
        NotFoundError: no log was kept; a step that was taken from the cache has its log in the run that made it.
    """
    return read_log_bytes(step, store).decode(errors="replace")


def read_log_bytes(step: StepRun, store: ArtifactStore, *, start: int = 0) -> bytes:
    """Return the log from byte `start` on, which is how one that grows is followed."""
    if not step.log_uri:
        why = "Its outputs were taken from the cache." if step.cached_from else "It hasn't started."
        raise NotFoundError("log of step", step.key, why=why)
    root = store.uri.rstrip("/") + "/"
    if step.log_uri.startswith(root):
        key = step.log_uri[len(root) :]
        return store.get_bytes(unquote(key) if root.startswith("file:") else key, start=start)
    path = Path(unquote(step.log_uri.removeprefix("file://")))
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except OSError as error:
        raise NotFoundError(
            "log of step", step.key, why=f"It was kept at '{step.log_uri}', which can't be read from here."
        ) from error
