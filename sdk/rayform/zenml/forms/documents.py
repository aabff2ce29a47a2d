"""ZenML's helpers that read and write YAML and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["append_yaml", "is_yaml", "read_json", "read_yaml", "write_json", "write_yaml"]


def read_yaml(file_path: str) -> Any:
    """Return the content of a YAML file; plain data only.

    Raises:
        FileNotFoundError: there is no such file.
    """
    import yaml

    return yaml.safe_load(Path(file_path).read_text(encoding="utf-8"))


def write_yaml(file_path: str, contents: Any, sort_keys: bool = True) -> None:
    """Write data as YAML, in place of what the file held."""
    import yaml

    Path(file_path).write_text(yaml.safe_dump(contents, sort_keys=sort_keys), encoding="utf-8")


def append_yaml(file_path: str, contents: Mapping[str, Any]) -> None:
    """Add keys to a YAML file that holds a mapping; those that exist get the new values."""
    write_yaml(file_path, {**(read_yaml(file_path) or {}), **contents})


def is_yaml(file_path: str) -> bool:
    """Whether a file's name ends like that of a YAML file."""
    return file_path.endswith((".yaml", ".yml"))


def read_json(file_path: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return json.loads(Path(file_path).read_text(encoding="utf-8"))


def write_json(file_path: str, contents: Any, indent: int | None = None) -> None:
    """Write data as JSON, in place of what the file held."""
    Path(file_path).write_text(json.dumps(contents, indent=indent), encoding="utf-8")
