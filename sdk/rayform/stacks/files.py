"""The files of registered stacks, components and profiles: where they are, and how they are read and written.

    $RAYFORM_HOME/settings.yaml                          the active profile
    $RAYFORM_HOME/profiles/<profile>/profile.yaml        the profile's active stack
    $RAYFORM_HOME/profiles/<profile>/stacks/<name>.yaml  one stack: the names of its components
    $RAYFORM_HOME/components/<kind>/<name>.yaml          one component: its flavor and settings
    <project>/.rayform/config.yaml                       a pin: the stack of a folder and of all folders below it

This module doesn't import pydantic, so that `rayform stack list` starts fast. It checks the keys and types of a file
itself; the model of a flavor parses a component's settings only when a stack is built.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rayform_core.errors import IntegrityError, PrerequisiteError, UsageError
from rayform_core.files import file_lock, home, storage_error, write_atomically

__all__ = [
    "KINDS",
    "Keys",
    "check_kind",
    "check_name",
    "component_file",
    "find_pin",
    "names_in",
    "parse_yaml",
    "pin_file",
    "profile_file",
    "read_yaml",
    "registry_lock",
    "remove_file",
    "settings_file",
    "stack_file",
    "stacks_folder",
    "write_yaml",
]

KINDS = ("orchestrator", "artifact-store", "container-registry", "catalog")
"""The values of `rayform_runtime.components.ComponentKind`, in the order in which they are shown; a test compares the
two."""

_NAME = re.compile(r"[a-z0-9][a-z0-9\-_.]*")
_LONGEST_NAME = 63
_LARGEST_FILE = 1 << 20
_FIX = "Fix the file, or remove it and register again. It wasn't changed."

Keys = Mapping[str, type | tuple[type, ...]]
"""The keys that a file may have, with their types."""


def check_name(what: str, name: str) -> str:
    """Return `name` if it can be the name of a stack, component or profile, and thus of its file.

    Args:
        what: the kind of thing that has the name, for the error's text.
        name: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit; at most 63 characters.

    Raises:
        UsageError: it is something else, such as a path.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        suggestion = re.sub(r"[^a-z0-9\-_.]+", "-", name.lower()).strip("-_.")[:_LONGEST_NAME]
        raise UsageError(
            f"'{name}' is not a valid {what} name.",
            why="A name has lower-case letters, digits, '-', '_' and '.', begins with a letter or digit, and has "
            f"at most {_LONGEST_NAME} characters.",
            hint=f"For instance '{suggestion}'." if suggestion else None,
        )
    return name


def check_kind(kind: str) -> str:
    """Return `kind` as it is written in files (`artifact-store`, not `artifact_store`).

    Raises:
        UsageError: there is no such kind of component.
    """
    written = str(kind).replace("_", "-")
    if written not in KINDS:
        raise UsageError(f"'{kind}' is not a kind of component.", hint=f"Kinds: {', '.join(KINDS)}.")
    return written


def settings_file() -> Path:
    """Return the file that names the active profile."""
    return home() / "settings.yaml"


def profile_file(profile: str) -> Path:
    """Return the file that names a profile's active stack."""
    return home() / "profiles" / check_name("profile", profile) / "profile.yaml"


def stacks_folder(profile: str) -> Path:
    """Return the folder of a profile's stacks."""
    return profile_file(profile).parent / "stacks"


def stack_file(profile: str, name: str) -> Path:
    """Return the file of a registered stack."""
    return stacks_folder(profile) / f"{check_name('stack', name)}.yaml"


def component_file(kind: str, name: str) -> Path:
    """Return the file of a registered component."""
    written = check_kind(kind)
    return home() / "components" / written / f"{check_name(written, name)}.yaml"


def pin_file(folder: Path) -> Path:
    """Return the pin file of `folder`, which names the active stack there."""
    return folder / ".rayform" / "config.yaml"


def find_pin(start: Path | None = None) -> Path | None:
    """Return the nearest pin file in `start` (by default the working folder) or a folder above it."""
    try:
        folder = (start or Path.cwd()).absolute()
    except FileNotFoundError:  # the working folder was deleted
        return None
    ours = home()
    for candidate in (folder, *folder.parents):
        path = pin_file(candidate)
        # ~/.rayform holds the registered stacks; it is not a pin of the home folder.
        if path.parent != ours and path.is_file():
            return path
    return None


def names_in(folder: Path) -> list[str]:
    """Return the sorted names of the YAML files in `folder`; none if it doesn't exist."""
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder) from error
    return sorted(e.stem for e in entries if e.suffix == ".yaml" and _NAME.fullmatch(e.stem))


def read_yaml(path: Path, *, keys: Keys) -> dict[str, Any] | None:
    """Read one of these files, or return `None` if it doesn't exist.

    Args:
        path: the file.
        keys: the keys that the file may have, with their types.

    Raises:
        IntegrityError: it isn't YAML, isn't a mapping, or has other keys or types. The error names file, line and
            column. The file isn't changed.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise IntegrityError(
                f"'{path}' is not a file of Rayform.", why="It is larger than a megabyte.", hint=_FIX
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise IntegrityError(
            f"'{path}' can't be read.",
            why=f"It isn't UTF-8 text (byte {error.start}).",
            hint=_FIX,
        ) from error
    except OSError as error:
        raise storage_error(error, path) from error
    return parse_yaml(text, str(path), keys=keys)


def parse_yaml(text: str, where: str, *, keys: Keys) -> dict[str, Any]:
    """Parse `text` as a mapping with these keys; see `read_yaml`."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # A safe loader in C; `yaml.safe_load` would use the slow one in Python.
        data = yaml.load(text, Loader=loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise IntegrityError(f"{place}: not valid YAML.", why=f"{error.problem}.", hint=_FIX) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not valid YAML.", why=f"{error}.", hint=_FIX) from error
    if not isinstance(data, dict):
        raise IntegrityError(f"{where}:1:1: not a mapping of keys to values.", hint=_FIX)
    for key, value in data.items():
        expected = keys.get(key) if isinstance(key, str) else None
        if expected is None or not isinstance(value, expected):
            line, column = _place(yaml.compose(text, Loader=loader), key)
            problem = (
                f"unknown key '{key}'." if expected is None else f"'{key}' can't be a {type(value).__name__}."
            )
            raise IntegrityError(
                f"{where}:{line}:{column}: {problem}", why=f"Allowed keys: {', '.join(keys)}.", hint=_FIX
            )
    return data


def _place(node: Any, key: object) -> tuple[int, int]:
    """Return the line and column of a key in a YAML mapping."""
    for key_node, _ in node.value:
        if key_node.value == str(key):
            return key_node.start_mark.line + 1, key_node.start_mark.column + 1
    return 1, 1


def write_yaml(path: Path, data: Mapping[str, object]) -> None:
    """Write one of these files atomically: keys in the order of `data`, without empty values."""
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    kept = {key: value for key, value in data.items() if value not in (None, {}, ())}
    write_atomically(path, yaml.dump(kept, Dumper=dumper, sort_keys=False, allow_unicode=True))


def remove_file(path: Path) -> None:
    """Remove one of these files; do nothing if it doesn't exist."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


@contextlib.contextmanager
def registry_lock() -> Iterator[None]:
    """Lock the registry against other processes, to read and change several files together."""
    folder = home()
    if folder.exists() and not folder.is_dir():
        raise PrerequisiteError(f"'{folder}' is a file.", hint="Set RAYFORM_HOME to a folder.")
    with file_lock(folder / ".registry.lock", what="The registry of stacks"):
        yield
