"""Reads and shows the pictures that are stored with an artifact version."""

from __future__ import annotations

import base64
import importlib
import sys
from html import escape
from typing import TYPE_CHECKING, Any

from rayform_core.errors import IntegrityError, NotFoundError
from rayform_runtime.artifacts.stores.digest import bytes_digest
from rayform_runtime.artifacts.stores.keys import is_safe_key
from rayform_runtime.artifacts.visualizations import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion, Visualization

__all__ = ["framed", "read", "show"]

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; form-action 'none'"
)
"""What a page in a frame may load: what it holds itself."""


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
            content = _content(version, each, folder)
            is_text = each.kind != "image" or each.path.endswith(".svg")
            pictures[each.name] = (each.kind, content.decode(errors="replace") if is_text else content)
    return pictures


def _content(version: ArtifactVersion, picture: Visualization, folder: Path) -> bytes:
    """Return a picture's file, if it is one of the artifact's pictures and what was recorded.

    Raises:
        IntegrityError: the catalog names another file, or the file isn't what was committed.
    """
    path = folder / picture.path
    # The catalog names the path, and others may write to the catalog.
    is_picture = is_safe_key(picture.path) and picture.path.partition("/")[0] == FOLDER
    if not is_picture or not path.resolve().is_relative_to(folder.resolve()):
        raise IntegrityError(
            f"Visualization '{picture.name[:100]}' of artifact '{version.name}' can't be shown.",
            why=f"The catalog names the file {picture.path[:200]!r}, which isn't one of its pictures.",
            hint="Another program wrote to the catalog: restore it from a backup.",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(
            f"Visualization '{picture.name}' of artifact '{version.name}' is gone.",
            why=f"{error.strerror}.",
            hint="Restore the artifact from a backup, or run the step again.",
        ) from error
    if picture.digest and bytes_digest(content) != picture.digest:
        raise IntegrityError(
            f"Visualization '{picture.name}' of artifact '{version.name}' isn't what was committed.",
            why="Its digest differs from the one in the catalog.",
            hint="Restore the artifact from a backup, or run the step again.",
        )
    return content


def show(
    version: ArtifactVersion, store: ArtifactStore, name: str | None = None
) -> dict[str, str | bytes] | None:
    """Show visualizations in a notebook; elsewhere return them by name. See `ArtifactVersionView.visualize`."""
    pictures = read(version, store, name)
    if not _in_notebook():
        return {title: content for title, (_, content) in pictures.items()}
    display: Any = importlib.import_module("IPython.display")
    for title, (kind, content) in pictures.items():
        display.display(_shown(display, kind, title, content))
    return None


def _shown(display: Any, kind: str, title: str, content: str | bytes) -> Any:
    """Return what a notebook displays. Nothing of it can reach the notebook's own page."""
    if isinstance(content, bytes):
        return display.Image(data=content)
    if kind == "image":
        # Scripts in an image don't run.
        data = base64.b64encode(content.encode()).decode()
        return display.HTML(f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">')
    if kind == "html":
        return display.HTML(framed(content, title))
    if kind == "markdown":
        from markdown_it import MarkdownIt

        # "js-default" shows HTML in the text as text, and refuses links that run scripts.
        return display.HTML(framed(MarkdownIt("js-default").render(content), title))
    return display.Code(content, language="json") if kind == "json" else display.Pretty(content)


def framed(page: str, title: str) -> str:
    """Return a page in a frame of its own: its scripts run, without the notebook's page, cookies or any network."""
    source = escape(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{page}')
    return (
        f'<iframe sandbox="allow-scripts" referrerpolicy="no-referrer" title="{escape(title)}" '
        f'style="width: 100%; height: 30em; border: 0" srcdoc="{source}"></iframe>'
    )


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code; IPython is never imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
