"""Previews of artifact versions. What users' code made never runs in the dashboard's own origin.

HTML is served with a policy that puts it into an origin of its own, and is shown in a sandboxed frame. SVG is an image
without scripts. Tables, JSON and Markdown are rendered here, as text.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from rayform.reading import visualizations
from rayform_core.errors import NotFoundError
from rayform_server.security import SANDBOX_POLICY

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion

__all__ = ["Preview", "picture", "previews_of", "sandbox"]

_MOST_BYTES = 50_000_000
"""A version with more data is only described."""
_ROWS, _COLUMNS, _TEXT = 50, 40, 20_000
_IMAGES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "svg": "image/svg+xml",
}  # fmt: skip
_IMAGE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TEXT_FILES = {"json": "json", "txt": "text", "csv": "csv", "md": "markdown"}


@dataclass(frozen=True, slots=True)
class Preview:
    """What a page shows of a value.

    Args:
        name: the picture's or file's name.
        kind: `html`, `image`, `table`, `markdown` or `text`.
        rows: of a table; the first one holds the headings.
        text: of a text.
        markup: of Markdown, rendered without HTML.
        is_cut: whether there is more.
    """

    name: str
    kind: str
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""
    markup: Markup = Markup("")  # noqa: RUF009 - a constant
    is_cut: bool = False


def previews_of(version: ArtifactVersion, store: ArtifactStore) -> list[Preview]:
    """Return the previews of a version: its pictures, and the beginning of files that are text."""
    if version.external or version.size > _MOST_BYTES:
        return []
    previews = []
    if version.visualizations:
        for name, (kind, content) in visualizations.read(version, store).items():
            previews.append(_preview(name, kind, content))
    if not previews:
        with store.open_local(version.uri, digest=version.digest) as folder:
            for path in sorted(folder.iterdir())[:20]:
                file_kind = _TEXT_FILES.get(path.suffix.removeprefix(".").lower())
                if file_kind is not None and path.is_file() and not path.is_symlink():
                    previews.append(_preview(path.name, file_kind, _start_of(path)))
    return previews


def _start_of(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(4 * _TEXT).decode(errors="replace")


def _preview(name: str, kind: str, content: str | bytes) -> Preview:
    if kind in ("html", "image"):
        return Preview(name, kind)
    text = content if isinstance(content, str) else content.decode(errors="replace")
    if kind == "csv":
        return _table(name, text)
    if kind == "markdown":
        return Preview(name, kind, markup=_markdown(text[:_TEXT]), is_cut=len(text) > _TEXT)
    return Preview(name, "text", text=text[:_TEXT], is_cut=len(text) > _TEXT)


def _table(name: str, text: str) -> Preview:
    rows: list[list[str]] = []
    is_cut = False
    try:
        for row in csv.reader(io.StringIO(text)):
            if len(rows) > _ROWS:
                is_cut = True
                break
            is_cut |= len(row) > _COLUMNS
            rows.append([cell[:300] for cell in row[:_COLUMNS]])
    except csv.Error:
        return Preview(name, "text", text=text[:_TEXT], is_cut=len(text) > _TEXT)
    return Preview(name, "table", rows=rows, is_cut=is_cut)


def _markdown(text: str) -> Markup:
    from markdown_it import MarkdownIt

    # HTML stays text, and pictures, which could be anywhere, are left out.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return Markup(renderer.render(text))  # noqa: S704 - the renderer escapes all text


def _content(request: Request, kind: str) -> tuple[str, str | bytes]:
    """Return the name and content of the picture that a request asks for.

    Raises:
        NotFoundError: the version has no picture of this name and kind.
    """
    from rayform_server.pages.artifacts import version_of

    client, version = version_of(request)
    name = request.query_params.get("name", "")
    found_kind, content = visualizations.read(version, client.artifact_store, name)[name]
    if found_kind != kind:
        raise NotFoundError("visualization", name)
    return name, content


def sandbox(request: Request) -> Response:
    """Return HTML that a user's code made, for a sandboxed frame."""
    _, content = _content(request, "html")
    return Response(
        content, media_type="text/html; charset=utf-8", headers={"content-security-policy": SANDBOX_POLICY}
    )


def picture(request: Request) -> Response:
    """Return an image that a user's code made."""
    name, content = _content(request, "image")
    media_type = _IMAGES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    return Response(content, media_type=media_type, headers={"content-security-policy": _IMAGE_POLICY})
