"""Wheels on this machine that can satisfy requirements, for networks without a package index."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

__all__ = ["LocalWheel", "find_links_folders", "find_local_wheels"]


@dataclass(frozen=True, slots=True)
class LocalWheel:
    """A wheel file with its project's normalized name and its version."""

    project: str
    version: str
    path: Path


def find_links_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the local folders in pip's own setting `PIP_FIND_LINKS`; URLs in it are left to pip."""
    words = environment.get("PIP_FIND_LINKS", "").split()
    return [folder for word in words if (folder := Path(word.removeprefix("file://"))).is_dir()]


def find_local_wheels(
    requirements: Sequence[str], folders: Sequence[Path], *, python: str
) -> list[LocalWheel]:
    """Return the newest local wheel for each requirement that a local wheel fits.

    Args:
        requirements: requirement lines.
        folders: folders of wheels.
        python: version of the image's Python, such as `"3.11"`; wheels must be for Linux on this processor.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    wheels: dict[str, dict[Version, Path]] = {}  # by project and version
    for line in requirements:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        name = canonicalize_name(requirement.name)
        for folder in folders:
            for path in folder.glob("*.whl"):
                version = _version_for(requirement, path, python)
                if version is not None:
                    wheels.setdefault(name, {}).setdefault(version, path)
    return [
        LocalWheel(name, str(newest), versions[newest])
        for name, versions in wheels.items()
        for newest in [max(versions)]
    ]


def _version_for(requirement: Requirement, wheel: Path, python: str) -> Version | None:
    """Return the version of a wheel, or `None` if it doesn't fit the requirement or the image's Python."""
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

    try:
        project, version, _, tags = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename:
        return None
    if project != canonicalize_name(requirement.name):
        return None
    if not any(_fits(tag.interpreter, tag.abi, tag.platform, python) for tag in tags):
        return None
    return version if requirement.specifier.contains(version, prereleases=True) else None


def _fits(interpreter: str, abi: str, platform: str, python: str) -> bool:
    import platform as machine

    major, _, minor = python.partition(".")
    if platform != "any" and not (platform.endswith(machine.machine()) and "linux" in platform):
        return False
    if interpreter in (f"cp{major}{minor}", f"py{major}", f"py{major}{minor}"):
        return True
    older = re.fullmatch(rf"cp{major}(\d+)", interpreter)
    return abi == "abi3" and older is not None and int(older.group(1)) <= int(minor)
