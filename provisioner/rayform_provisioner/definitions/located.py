"""Reads YAML and remembers the line and column of every key and value, so that an error can point at them."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from rayform_core.errors import UsageError

__all__ = ["DefinitionError", "LocatedYaml", "Mark", "Problem", "read_located_yaml"]

Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 40
PLAIN_TAGS = {"map", "seq", "str", "int", "float", "bool", "null", "timestamp"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a definition.

    Args:
        where: dotted path of the key, such as `compute.head.disk_gb`.
        mark: its place.
        message: what is wrong.
        hint: what would be right.
    """

    where: str
    mark: Mark
    message: str
    hint: str

    def __str__(self) -> str:
        place = f"line {self.mark.line}, column {self.mark.column}"
        name = f"{self.where}: " if self.where else ""
        return f"{place}: {name}{self.message} {self.hint}".rstrip()


class DefinitionError(UsageError):
    """A stack definition is wrong; `problems` holds every place, in the file's order."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"The stack definition {source} has {count}.",
            why="\n        ".join(f"{source}: {p}" for p in problems),
            hint="Correct it and run `rayform stack validate`; docs/stacks.md describes every key.",
        )


@dataclass(slots=True)
class LocatedYaml:
    """Plain data with the places that it came from.

    Args:
        data: dicts, lists and scalars.
        keys: path to the place of its key (of the value, in a list).
        values: path to the place of its value.
    """

    data: object
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return the place of `path`, or of its nearest parent that is in the file."""
        places = self.keys if key else self.values
        while path:
            mark = places.get(path) or self.values.get(path)
            if mark:
                return mark
            path = path[:-1]
        return self.values.get((), Mark(1, 1))


def read_located_yaml(text: str, source: str) -> LocatedYaml:
    """Parse one YAML document into plain data; never build other objects.

    Args:
        text: the document; at most 1 MB, 20,000 nodes (aliases counted each time) and 40 levels.
        source: its name, for errors.

    Raises:
        DefinitionError: it is not YAML, is too large, repeats a key, or has a key that is not text or an unknown tag.
    """

    def fail(mark: Mark, message: str, hint: str) -> DefinitionError:
        return DefinitionError(source, [Problem("", mark, message, hint)])

    if len(text) > MAX_BYTES:
        raise fail(Mark(1, 1), "The file is larger than 1 MB.", "A definition is a page or two.")
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:  # characters that YAML forbids
        raise fail(
            _error_mark(error, text),
            "The file holds characters that YAML forbids.",
            "Save it as plain UTF-8 text.",
        ) from error
    try:
        return _Reader(loader, source).read()
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        raise fail(
            _error_mark(error, text),
            f"This is not valid YAML: {problem}.",
            "Check indentation, colons and quotes.",
        ) from error
    except RecursionError as error:
        raise fail(Mark(1, 1), "The file is nested too deeply.", "A definition has four levels.") from error
    finally:
        loader.dispose()


def _error_mark(error: yaml.YAMLError, text: str) -> Mark:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return Mark(mark.line + 1, mark.column + 1)
    position = getattr(error, "position", None)
    if isinstance(position, int):
        before = text[:position]
        return Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
    return Mark(1, 1)


class _Reader:
    """Builds plain data from YAML nodes, and notes where each key and value is.

    Args:
        loader: the document.
        source: its name, for errors.
    """

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self._loader = loader
        self._source = source
        self._nodes = 0
        self._located = LocatedYaml(None)

    def read(self) -> LocatedYaml:
        """Read the whole document."""
        root = self._loader.get_single_node()
        if root is not None:
            self._located.data = self._build(root, ())
        return self._located

    def _build(self, node: yaml.Node, path: Path) -> object:
        self._nodes += 1
        mark = _mark(node)
        self._located.values[path] = mark
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._error(mark, "The file holds too much.", "A definition is a page or two.")
        if node.tag.removeprefix("tag:yaml.org,2002:") not in PLAIN_TAGS:
            raise self._error(mark, f"The YAML tag '{node.tag}' is not plain data.", "Leave the tag out.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        where = ".".join(map(str, path))
        for key_node, value_node in node.value:
            key, mark = self._scalar(key_node), _mark(key_node)
            if not isinstance(key, str):
                raise self._error(
                    mark, f"The key {key!r} is not text.", f'Write it in quotes: "{key}".', where
                )
            if key in result:
                raise self._error(mark, f"The key '{key}' is there twice.", "Keep one of them.", where)
            self._located.keys[(*path, key)] = mark
            result[key] = self._build(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.Node) -> object:
        mark = _mark(node)
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(mark, "A key must be plain text.", "Write `name: value`.")
        try:
            value: object = self._loader.construct_object(node)
        except (ValueError, OverflowError) as error:  # such as the date 2026-13-45
            raise self._error(
                mark, f"'{node.value}' can't be read: {error}.", "Write text in quotes."
            ) from error
        return value

    def _error(self, mark: Mark, message: str, hint: str, where: str = "") -> DefinitionError:
        return DefinitionError(self._source, [Problem(where, mark, message, hint)])


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
