"""Strings that are visualizations: return one from a step to show it with the artifact.

Example:
    >>> HTMLString("<b>fine</b>").kind
    'html'
"""

from __future__ import annotations

from rayform_runtime.artifacts.types import CSVString, HTMLString, JSONString, MarkdownString

__all__ = ["CSVString", "HTMLString", "JSONString", "MarkdownString"]
