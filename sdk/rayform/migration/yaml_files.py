"""Rewrites run configurations in YAML; comments, quotes and order are kept."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from rayform.migration.findings import FileResult, Finding, UnreadableFileError
from rayform.migration.python_settings import DOCKER_FIELDS, RESOURCE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_run_configuration", "rewrite_yaml"]

_ZENML_KEYS = frozenset(
    (
        "run_name", "enable_cache", "enable_artifact_metadata", "enable_artifact_visualization", "enable_step_logs",
        "enable_pipeline_logs", "enable_heartbeat", "schedule", "build", "steps", "settings", "environment",
        "secrets", "tags", "extra", "model", "parameters", "retry", "failure_hook_source", "success_hook_source",
        "init_hook_source", "init_hook_kwargs", "cleanup_hook_source", "start_hook_source", "end_hook_source",
        "substitutions", "cache_policy", "execution_mode", "name", "step_operator", "experiment_tracker",
    )
)  # fmt: skip
_TELLING_KEYS = frozenset(
    (
        "steps",
        "settings",
        "enable_cache",
        "enable_step_logs",
        "enable_artifact_metadata",
        "run_name",
        "parameters",
    )
)
"""A file that is named nowhere counts as a run configuration if it has one of these keys, and only ZenML's."""
_INSTEAD = {
    "schedule": "Rayform has no schedules: let cron, a systemd timer or CI call `rayform run`.",
    "build": "Rayform finds or builds the image of each step by itself. Remove the key.",
    "experiment_tracker": "MLflow works as before; for another tracker, call its own API in the step.",
    "step_operator": "Rayform has no step operators: `resources` and the stack decide where a step runs.",
}
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_MEMORY = re.compile(r"(\d+)\s*([KMGTP])(i?)B")
_REQUIREMENT = re.compile(r"\s*zenml\s*(\[[^\]]*\])?\s*([<>=!~].*|;.*)?", re.IGNORECASE)


class _Layout(NamedTuple):
    """How a file indents: what ruamel needs to write it as it was."""

    mapping: int
    sequence: int
    offset: int


_LAYOUTS = (
    _Layout(2, 4, 2),
    _Layout(2, 2, 0),
    _Layout(4, 6, 4),
    _Layout(4, 4, 0),
    _Layout(4, 4, 2),
    _Layout(4, 6, 2),
)


def rewrite_yaml(content: bytes) -> FileResult:
    """Return a run configuration with ZenML's settings in Rayform's form, and the places that need a human.

    Args:
        content: the file; its newlines, comments and layout are kept.

    Raises:
        UnreadableFileError: it isn't valid YAML, or the rewritten file would have another layout.
    """
    text, newline, mark = _decoded(content)
    data = _load(text, _LAYOUTS[0])
    if not isinstance(data, CommentedMap):
        raise UnreadableFileError(0, "It isn't a mapping of keys to values.")
    findings = sorted(_findings(data))
    if not _convert_all(data):
        return FileResult(findings=findings)
    for layout in _LAYOUTS:
        again = _load(text, layout)
        if _dump(again, layout) != text:
            continue
        _convert_all(again)
        new = mark + _dump(again, layout).replace("\n", newline).encode()
        return FileResult(new, findings)
    findings.append(
        Finding(
            0,
            "settings",
            "Write `settings.docker` as `image` and `settings.resources` as `resources`. The file isn't rewritten, "
            "since its layout would change. Rayform reads the old form too.",
        )
    )
    return FileResult(findings=findings)


def is_run_configuration(content: bytes) -> bool:
    """Whether a YAML file that no code names is most likely a run configuration of ZenML."""
    try:
        data = _load(_decoded(content)[0], _LAYOUTS[0])
    except UnreadableFileError:
        return False
    if not isinstance(data, CommentedMap):
        return False
    keys = set(data)
    if not keys or not keys <= _ZENML_KEYS or not keys & _TELLING_KEYS:
        return False
    parts = [data.get(key) for key in ("steps", "settings", "parameters") if data.get(key) is not None]
    return all(isinstance(part, CommentedMap) for part in parts)


def _decoded(content: bytes) -> tuple[str, str, bytes]:
    """Return a file's text with plain newlines, its newline, and its byte order mark."""
    mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
    try:
        text = content[len(mark) :].decode()
    except UnicodeDecodeError:
        raise UnreadableFileError(0, "It is not UTF-8.") from None
    newline = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    if "\r" in plain or plain.replace("\n", newline) != text:
        raise UnreadableFileError(0, "It mixes kinds of newlines.")
    return plain, newline, mark


def _yaml(layout: _Layout) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000
    yaml.indent(mapping=layout.mapping, sequence=layout.sequence, offset=layout.offset)
    return yaml


def _load(text: str, layout: _Layout) -> object:
    try:
        return _yaml(layout).load(text)
    except (YAMLError, ValueError, RecursionError, AttributeError, NotImplementedError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        line = mark.line + 1 if mark is not None else 0
        raise UnreadableFileError(line, f"It is not valid YAML: {problem}.") from None


def _dump(data: object, layout: _Layout) -> str:
    stream = io.StringIO()
    _yaml(layout).dump(data, stream)
    return stream.getvalue()


# -- what is rewritten --------------------------------------------------------------------------------------
def _sections(data: CommentedMap) -> Iterator[CommentedMap]:
    """Yield the parts that may have settings: the file itself, and each step."""
    yield data
    steps = data.get("steps")
    if isinstance(steps, CommentedMap):
        yield from (step for step in steps.values() if isinstance(step, CommentedMap))


def _convert_all(data: object) -> bool:
    assert isinstance(data, CommentedMap)
    changed = [_convert(section) for section in _sections(data)]
    return True in changed


def _convert(section: CommentedMap) -> bool:
    settings = section.get("settings")
    if not isinstance(settings, CommentedMap):
        return False
    changed = False
    for key, option, fields in (
        ("docker", "image", DOCKER_FIELDS),
        ("resources", "resources", RESOURCE_FIELDS),
    ):
        old = settings.get(key)
        if option in section or not isinstance(old, CommentedMap) or not old or not set(old) <= set(fields):
            continue
        if not _converted_values(old):
            continue
        for name in list(old):
            _rename(old, name, fields[name])
        section.insert(list(section).index("settings"), option, old)
        del settings[key]
        changed = True
    if changed and not settings:
        del section["settings"]
    return changed


def _converted_values(old: CommentedMap) -> bool:
    """Change the values that differ in Rayform; return whether all could be."""
    memory = old.get("memory")
    if memory is not None:
        parts = _MEMORY.fullmatch(str(memory))
        if parts is None:
            return False
        power = _UNITS[parts[2]]
        old["memory"] = int(parts[1]) * (2 ** (10 * power) if parts[3] else 10 ** (3 * power))
    requirements = old.get("requirements")
    if isinstance(requirements, list):
        for i in reversed(range(len(requirements))):
            if _REQUIREMENT.fullmatch(str(requirements[i])):
                del requirements[i]  # Rayform installs itself in each image
    return True


def _rename(mapping: CommentedMap, old: str, new: str) -> None:
    if old == new:
        return
    position = list(mapping).index(old)
    comment = mapping.ca.items.pop(old, None)
    value = mapping.pop(old)
    mapping.insert(position, new, value)
    if comment is not None:
        mapping.ca.items[new] = comment


# -- what needs a human -------------------------------------------------------------------------------------
def _findings(data: CommentedMap) -> Iterator[Finding]:
    from rayform.authoring.configuration import PipelineConfiguration, StepConfiguration

    yield from _of_section(data, set(PipelineConfiguration.model_fields), "")
    steps = data.get("steps")
    if isinstance(steps, CommentedMap):
        for name, step in steps.items():
            if isinstance(step, CommentedMap):
                yield from _of_section(step, set(StepConfiguration.model_fields), f"steps.{name}.")


def _of_section(section: CommentedMap, known: set[str], where: str) -> Iterator[Finding]:
    for key in section:
        if key in _INSTEAD and section[key] is not None:
            yield Finding(_line(section, key), f"{where}{key}", _INSTEAD[key])
        elif key not in known:
            yield Finding(_line(section, key), f"{where}{key}", "Rayform has no such key. Remove it.")
    settings = section.get("settings")
    if isinstance(settings, Mapping):
        for key in settings:
            if key not in ("docker", "resources"):
                why = "Rayform has no such component: the run says so and ignores the setting. Remove it."
                yield Finding(_line(settings, key), f"{where}settings.{key}", why)


def _line(section: object, key: str) -> int:
    position: Sequence[int] = section.lc.key(key)  # type: ignore[attr-defined]
    return position[0] + 1
