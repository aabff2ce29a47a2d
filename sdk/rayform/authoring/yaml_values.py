"""YAML as users mean it: numbers as YAML 1.2 reads them, and no other surprises.

PyYAML reads YAML 1.1, where `1e-3` is text, `12:30` is 750, `010` is 8, and `2026-01-31` is a date whatever the
annotation says. Here they are 0.001, text, 10, and text, which an annotation such as `date` turns into what it names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["ValueLoader", "read_value"]

_REPLACED = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class ValueLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own interface
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_int(self, node: Any) -> int:
        """Return a decimal, or a number with one of Python's prefixes."""
        text = str(self.construct_scalar(node)).replace("_", "")
        digits = text.lstrip("+-")
        return int(text, 0 if digits[:2].lower() in ("0b", "0o", "0x") else 10)


ValueLoader.add_constructor("tag:yaml.org,2002:int", ValueLoader.construct_int)
# The first pattern that fits counts.
ValueLoader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
ValueLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_value(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        yaml.YAMLError, ValueError: it isn't YAML.

    Example:
        >>> read_value("[1e-3, 12:30, 0x10]")
        [0.001, '12:30', 16]
    """
    return _constructed(text)[1]


def _constructed(text: str) -> tuple[Node | None, Any]:
    loader = ValueLoader(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
