"""Reads and shows the pictures that are stored with an artifact version."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from rayform_core.errors import NotFoundError

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion

__all__ = ["read", "show"]


def read(
    version: ArtifactVersion, store: ArtifactStore, name: str | None = None
) -> dict[str, tuple[str, str | bytes]]:
    """Return the kind and content of a version's visualizations by name: images as bytes, all others as text.

    Raises:
        NotFoundError: it has no visualization of this name, or none at all.
    """
    selected = [v for v in version.visualizations if name is None or v.name == name]
    if not selected:
        raise NotFoundError(
            "visualization",
            name or "(any)",
            within=f"of artifact '{version.name}' version '{version.version}'",
            known=[v.name for v in version.visualizations],
        )
    pictures: dict[str, tuple[str, str | bytes]] = {}
    with store.open_local(version.uri, digest=version.digest) as folder:
        for each in selected:
            content = (folder / each.path).read_bytes()
            is_text = each.kind != "image" or each.path.endswith(".svg")
            pictures[each.name] = (each.kind, content.decode() if is_text else content)
    return pictures


def show(
    version: ArtifactVersion, store: ArtifactStore, name: str | None = None
) -> dict[str, str | bytes] | None:
    """Show visualizations in a notebook; elsewhere return them by name. See `ArtifactVersionView.visualize`."""
    pictures = read(version, store, name)
    if not _in_notebook():
        return {title: content for title, (_, content) in pictures.items()}
    display: Any = importlib.import_module("IPython.display")

    displays = {
        "html": display.HTML,
        "markdown": display.Markdown,
        "csv": display.Pretty,
        "json": display.Code,
    }
    for title, (kind, content) in pictures.items():
        if kind == "image":
            picture = display.SVG if title.endswith(".svg") else display.Image
            display.display(picture(data=content))
        else:
            display.display(displays[kind](content))
    return None


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code; IPython is never imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
