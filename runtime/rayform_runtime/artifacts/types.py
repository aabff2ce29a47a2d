"""Text that is itself a picture: return one of these types from a step to show it with the artifact.

Source: the names and meanings are those of `zenml.types`.
"""

from __future__ import annotations

__all__ = ["CSVString", "HTMLString", "JSONString", "MarkdownString", "VisualizationString"]


class VisualizationString(str):
    """Text that is shown as it is."""

    __slots__ = ()

    kind = ""
    suffix = ""


class HTMLString(VisualizationString):
    """A whole HTML page or a part of one."""

    __slots__ = ()

    kind = "html"
    suffix = "html"


class MarkdownString(VisualizationString):
    """Markdown."""

    __slots__ = ()

    kind = "markdown"
    suffix = "md"


class CSVString(VisualizationString):
    """Comma-separated values, with a header line."""

    __slots__ = ()

    kind = "csv"
    suffix = "csv"


class JSONString(VisualizationString):
    """JSON text."""

    __slots__ = ()

    kind = "json"
    suffix = "json"
