"""Wheels of this machine that requirements can be taken from, in networks without a package index."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LocalWheel", "find_links_folders", "find_local_wheels"]


@dataclass(frozen=True, slots=True)
class LocalWheel:
    """A wheel file with its project's normalized name and its version."""

    project: str
    version: str
    path: Path


def find_links_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the local folders of pip's own setting, `PIP_FIND_LINKS`; addresses in it are left to pip."""
    words = environment.get("PIP_FIND_LINKS", "").split()
    return [folder for word in words if (folder := Path(word.removeprefix("file://"))).is_dir()]


def find_local_wheels(
    requirements: Sequence[str], folders: Sequence[Path], *, python: str
) -> list[LocalWheel]:
    """Return the newest local wheel for each requirement that has one that fits.

    Args:
        requirements: requirement lines.
        folders: where wheels lie.
        python: version of the image's Python, such as `"3.11"`; wheels must be for Linux on this processor.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

    found: dict[str, tuple[object, LocalWheel]] = {}
    for line in requirements:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        name = canonicalize_name(wanted.name)
        for folder in folders:
            for path in folder.glob("*.whl"):
                try:
                    project, version, _, tags = parse_wheel_filename(path.name)
                except InvalidWheelFilename:
                    continue
                fits = any(_fits(tag.interpreter, tag.abi, tag.platform, python) for tag in tags)
                if project != name or not fits or not wanted.specifier.contains(version, prereleases=True):
                    continue
                best = found.get(name)
                if best is None or version > best[0]:  # type: ignore[operator]
                    found[name] = (version, LocalWheel(name, str(version), path))
    return [wheel for _, wheel in found.values()]


def _fits(interpreter: str, abi: str, platform: str, python: str) -> bool:
    import platform as machine

    major, _, minor = python.partition(".")
    if platform != "any" and not (platform.endswith(machine.machine()) and "linux" in platform):
        return False
    if interpreter in (f"cp{major}{minor}", f"py{major}", f"py{major}{minor}"):
        return True
    older = re.fullmatch(rf"cp{major}(\d+)", interpreter)
    return abi == "abi3" and older is not None and int(older.group(1)) <= int(minor)
