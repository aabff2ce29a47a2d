# ruff: noqa: E501  (sentences read better whole)
"""Reads the Python requirements of an image: a list, a requirements file, or the project's pyproject.toml.

Nothing is silently empty: what can't be installed in an image, such as a lock file or a folder of this machine, is
refused by name, with the command that makes a requirements file of it.

Sources: pip's "Requirements File Format", PEP 508 (requirements), PEP 621 (pyproject.toml), PEP 735 (dependency groups).
"""

from __future__ import annotations

import codecs
import re
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayform_core.errors import NotFoundError, UsageError

__all__ = ["Requirements", "read_requirements", "refuse_conflicts", "wheel_requirements"]

_ALLOWED_OPTIONS = re.compile(r"--(pre|prefer-binary|(no|only)-binary[= ][\w.,:-]+)")
"""As whole lines: pip reads several options from one line, also one that names an index."""
_HASH = re.compile(r"\s+--hash[= ]\S+")
_LOGIN = re.compile(r"//[^/@\s]+@")

_OTHER_FORMATS = {
    "uv.lock": "uv export --no-emit-project -o requirements.txt",
    "poetry.lock": "poetry export -o requirements.txt",
    "pdm.lock": "pdm export -o requirements.txt",
    "pylock.toml": "uv export --no-emit-project -o requirements.txt",
    "Pipfile": "pipenv requirements > requirements.txt",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
    "setup.py": "pip-compile setup.py",
    "setup.cfg": "pip-compile setup.cfg",
    "environment.yml": "pip list --format=freeze > requirements.txt",
    "environment.yaml": "pip list --format=freeze > requirements.txt",
    "conda.yml": "pip list --format=freeze > requirements.txt",
}
"""Files that pip can't install from, to the command that makes a requirements file of them."""


@dataclass(slots=True)
class Requirements:
    """What an image installs.

    Args:
        lines: requirements and options, as pip takes them.
        constraints: further lines that limit versions without installing anything.
        hashed: the same requirements with the hashes of their files, each a whole line; empty if there are no hashes.
    """

    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    hashed: list[str] = field(default_factory=list)


def read_requirements(source: Sequence[str] | str | None, project: Path) -> Requirements:
    """Return the requirements that `source` names.

    Args:
        source: requirements; or the path of a requirements file; or `"pyproject"` for the dependencies in
            pyproject.toml, with extras in brackets (`"pyproject[gpu]"`) and dependency groups after a colon
            (`"pyproject:train"`). `None` is nothing.
        project: the project's folder, where relative paths start.

    Raises:
        UsageError: a line holds a login, a path of this machine or an option that isn't allowed, or the file is of a
            kind that pip can't install from.
        NotFoundError: a file, an extra or a group is missing.

    Example:
        >>> read_requirements(["numpy>=1.26"], Path(".")).lines
        ['numpy>=1.26']
    """
    result = Requirements()
    if source is None:
        return result
    if not isinstance(source, str):
        for entry in source:
            if len(entry.strip().splitlines()) > 1:
                raise UsageError(
                    f"The requirement {entry!r} has a line break.",
                    hint="Make each requirement an entry of its own.",
                )
            _add(result, entry, "requirements")
        return result
    named = re.fullmatch(r"pyproject(?:\.toml)?(?:\[([^\]]*)\])?(?::(.+))?", source)
    if named:
        extras, groups = (_names(part) for part in named.groups())
        for line in _from_pyproject(project, extras, groups):
            _add(result, line, "pyproject.toml")
        return result
    _read_file(result, project, source, project, ())
    return result


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def wheel_requirements(wheel: Path, extras: Sequence[str]) -> list[str]:
    """Return the requirements of a wheel with these extras, as it lists them itself.

    Args:
        wheel: the file.
        extras: the extras, such as `["ray"]`.
    """
    from packaging.metadata import Metadata

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(archive.read(name), validate=False)
    lines = []
    for requirement in metadata.requires_dist or []:
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            requirement.marker = None
            lines.append(str(requirement))
    return sorted(set(lines))


def refuse_conflicts(lines: Sequence[str], own: Sequence[str]) -> None:
    """Refuse a version that can't go with what every image has, before anything is built.

    It sees versions that are pinned by `==`; what else can't be resolved is an error of pip's, while it builds.

    Args:
        lines: the user's requirements.
        own: Rayform's and Ray's.

    Raises:
        UsageError: names both sides.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    needed: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, own):
        needed.setdefault(_normalized(requirement.name), []).append(requirement)
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        pins = [
            item.version for item in wanted.specifier if item.operator == "==" and "*" not in item.version
        ]
        for other in needed.get(_normalized(wanted.name), []):
            if any(not other.specifier.contains(pin, prereleases=True) for pin in pins):
                raise UsageError(
                    f"'{line}' doesn't go with what every step image has: Rayform needs {other}.",
                    hint="Choose a version that both allow. Ray's version is set in the stack's definition.",
                )


# -- Requirements files


def _read_file(
    result: Requirements,
    project: Path,
    name: str,
    folder: Path,
    chain: tuple[Path, ...],
    *,
    limits: bool = False,
) -> None:
    """Add the lines of a file, and of the files that it names.

    Args:
        result: takes the lines.
        project: the project's folder.
        name: the file, as it is written in the ImageSpec or in another file.
        folder: where a relative name starts.
        chain: the files on the way to this one.
        limits: its lines are constraints.
    """
    path = folder / name
    command = _OTHER_FORMATS.get(path.name)
    if command is not None:
        raise UsageError(
            f"'{name}' is not a requirements file, and pip can't install from it.",
            hint=f"Make one: {command}",
        )
    if not path.is_file():
        near = [
            p.relative_to(project).as_posix()
            for p in sorted(path.parent.glob("*.txt"))[:200]
            if p.is_relative_to(project)
        ]
        raise NotFoundError("file for the image's requirements", str(path), known=near)
    resolved = path.resolve()
    if resolved in chain:
        raise UsageError(
            f"The requirements file '{name}' includes itself.",
            why=" → ".join(file.name for file in (*chain, resolved)) + ".",
            hint="Remove one of the `-r` or `-c` lines.",
        )
    for line in _logical_lines(_text_of(path)):
        other = re.match(r"(-r|--requirement|-c|--constraint)[ =]?\s*(.+)$", line)
        if other:
            option, target = other.groups()
            _read_file(
                result,
                project,
                target.strip(),
                path.parent,
                (*chain, resolved),
                limits=limits or "c" in option[:3],
            )
        elif limits:
            result.constraints.append(_HASH.sub("", _checked(line, name)))
        else:
            _add(result, line, name)


def _text_of(path: Path) -> str:
    """Return a file's text: UTF-8, or what its byte order mark says (PowerShell's `>` writes UTF-16)."""
    data = path.read_bytes()
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"'{path.name}' is not UTF-8 text.", why=f"{error}.", hint="Save the file as UTF-8."
        ) from None


def _logical_lines(text: str) -> Iterable[str]:
    """Return the lines of a requirements file, joined where they end in a backslash, without comments."""
    pending = ""
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith("#"):
            continue  # pip allows comment lines in the middle of a continued line
        if stripped.endswith("\\"):
            pending += stripped[:-1] + " "
            continue
        whole = re.sub(r"(^|\s+)#.*$", "", pending + stripped).strip()
        pending = ""
        if whole:
            yield re.sub(r"\s+", " ", whole)


def _add(result: Requirements, line: str, where: str) -> None:
    """Check one line, and add it."""
    line = line.strip()
    if not line or line.startswith("#"):
        return
    checked = _checked(line, where)
    plain = _HASH.sub("", checked)
    result.lines.append(plain)
    if plain != checked:
        result.hashed.append(checked)


def _checked(line: str, where: str) -> str:
    """Return `line` if an image can install it.

    Raises:
        UsageError: it can't; the error names the line and what to write.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    if _LOGIN.search(line) and not re.search(r"//git@", line):
        raise UsageError(
            f"The requirement '{_LOGIN.sub('//***@', line)}' in {where} holds a login.",
            why="It would stay readable in the image.",
            hint="Use a URL that needs no login.",
        )
    if line.startswith("-"):
        if _ALLOWED_OPTIONS.fullmatch(line):
            return line
        if re.match(r"(-e|--editable)\b", line):
            raise _local(line, where)
        raise UsageError(
            f"The option '{line}' in {where} isn't allowed in an image's requirements.",
            hint="Name package indexes in the ImageSpec: index_url and extra_index_urls.",
        )
    plain = _HASH.sub("", line)
    if "://" not in plain and plain.endswith((".whl", ".tar.gz", ".zip")):
        raise _local(line, where)
    try:
        url = Requirement(plain).url
    except InvalidRequirement as error:
        if re.match(r"(git|hg|svn|bzr)\+|https?://", plain):
            return line
        if re.match(r"\.{0,2}/|\.$|file:|~", plain):
            raise _local(line, where) from None
        raise UsageError(
            f"'{line}' in {where} isn't a requirement.",
            why=f"{str(error).splitlines()[0]}.",
            hint="Write each as in `numpy>=1.26`.",
        ) from None
    if url is not None and url.startswith("file:"):
        raise _local(line, where)
    return line


def _local(line: str, where: str) -> UsageError:
    return UsageError(
        f"'{line}' in {where} is a file or folder of this machine, which an image doesn't have.",
        hint="The project's own code travels with each run without being installed. For another package, build a wheel "
        "(pip wheel) into a folder, name the folder in PIP_FIND_LINKS, and write the package's name here.",
    )


# -- pyproject.toml


def _from_pyproject(project: Path, extras: Sequence[str], groups: Sequence[str]) -> list[str]:
    path = project / "pyproject.toml"
    if not path.is_file():
        near = [p.name for p in sorted(project.glob("*.toml"))] + [
            p.name for p in sorted(project.glob("*.txt"))
        ]
        raise NotFoundError("file for the image's requirements", str(path), known=near)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("The project's pyproject.toml can't be read.", why=f"{error}.") from error
    table = document.get("project")
    if not isinstance(table, dict):
        table = {}
    if "dependencies" not in table and not groups:
        raise _without_dependencies(document, table)
    lines = _strings(table.get("dependencies", []), "project.dependencies")
    optional = table.get("optional-dependencies", {})
    for extra in extras:
        lines += _strings(_chosen(optional, extra, "extra"), f"the extra '{extra}'")
    # An extra may name others as `this-project[other]`.
    lines = _own_extras(lines, str(table.get("name", "")), optional)
    for group in groups:
        lines += _group(document.get("dependency-groups", {}), group, ())
    return lines


def _without_dependencies(document: Mapping[str, Any], table: Mapping[str, Any]) -> UsageError:
    """Return the error for a pyproject.toml that doesn't list its dependencies where PEP 621 has them."""
    if "dependencies" in table.get("dynamic", []):
        return UsageError(
            "The dependencies in pyproject.toml are `dynamic`: the build backend decides them.",
            hint="Name the file that it reads in `requirements`, or write one: pip-compile pyproject.toml",
        )
    if "poetry" in document.get("tool", {}):
        return UsageError(
            "pyproject.toml has its dependencies in Poetry's own table, whose versions pip can't read.",
            hint="Make a requirements file: poetry export -o requirements.txt",
        )
    return UsageError(
        "pyproject.toml lists no dependencies: it has no key `project.dependencies`.",
        hint="Add `dependencies = [...]` to its [project] table, or leave `requirements` out.",
    )


def _strings(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{where} in pyproject.toml is not a list of texts.")
    return list(value)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _chosen(tables: Mapping[str, Any], name: str, kind: str) -> Any:
    by_name = {_normalized(key): value for key, value in tables.items()}
    if _normalized(name) not in by_name:
        raise NotFoundError(f"{kind} in pyproject.toml", name, known=list(tables))
    return by_name[_normalized(name)]


def _own_extras(lines: Sequence[str], own_name: str, optional: Mapping[str, Any]) -> list[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    result: list[str] = []
    seen: set[str] = set()
    pending = list(lines)
    while pending:
        line = pending.pop(0)
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            result.append(line)  # the check of the line reports it
            continue
        if not own_name or _normalized(requirement.name) != _normalized(own_name):
            result.append(line)
            continue
        for extra in sorted(requirement.extras - seen):
            seen.add(extra)
            pending += _strings(_chosen(optional, extra, "extra"), f"the extra '{extra}'")
    return result


def _group(groups: Mapping[str, Any], name: str, chain: tuple[str, ...]) -> list[str]:
    if _normalized(name) in chain:
        raise UsageError(f"The dependency group '{name}' in pyproject.toml includes itself.")
    lines: list[str] = []
    for item in _chosen(groups, name, "dependency group"):
        if isinstance(item, str):
            lines.append(item)
        elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
            lines += _group(groups, item["include-group"], (*chain, _normalized(name)))
        else:
            raise UsageError(
                f"The dependency group '{name}' in pyproject.toml has an entry that pip doesn't know: {item!r}."
            )
    return lines
