"""Profiles: named groups of stacks, and which one is active."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rayform.stacks import files
from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.files import home, storage_error

__all__ = [
    "active_profile",
    "create_profile",
    "delete_profile",
    "list_profiles",
    "profile_target",
    "read_pointer",
    "set_active_profile",
    "set_profile_stack",
    "set_profile_target",
]

DEFAULT = "default"
_POINTER_KEYS: dict[str, type | tuple[type, ...]] = {"stack": str, "profile": str, "target": str}


def active_profile() -> str:
    """Return the active profile's name.

    Raises:
        NotFoundError: what is set doesn't exist.
    """
    if chosen := os.environ.get("RAYFORM_PROFILE"):
        source = "$RAYFORM_PROFILE"
    elif (pin := files.find_pin()) and (chosen := read_pointer(pin).get("profile")):
        source = str(pin)
    elif chosen := read_pointer(files.settings_file()).get("profile"):
        source = str(files.settings_file())
    else:
        return DEFAULT
    if chosen not in list_profiles():
        raise NotFoundError("profile", chosen, known=list_profiles(), why=f"It is set by {source}.")
    return str(chosen)


def read_pointer(path: Path) -> dict[str, Any]:
    """Return what a file that names an active stack or profile says; nothing where it is missing."""
    return files.read_yaml(path, keys=_POINTER_KEYS) or {}


def list_profiles() -> list[str]:
    """Return the profiles' names, `default` first."""
    folder = home() / "profiles"
    try:
        found = sorted(e.name for e in folder.iterdir() if e.is_dir())
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise storage_error(error, folder) from error
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def create_profile(name: str) -> None:
    """Make a profile, with `default` as its active stack.

    Raises:
        ConflictError: there is one of this name.
    """
    with files.registry_lock():
        path = files.profile_file(name)
        if name in list_profiles():
            raise ConflictError(
                f"There is a profile '{name}' already.", hint=f"Use it: rayform profile set {name}"
            )
        files.write_yaml(path, {"stack": DEFAULT})


def set_active_profile(name: str) -> None:
    """Make a profile the active one.

    Raises:
        NotFoundError: there is none.
    """
    with files.registry_lock():
        if name not in list_profiles():
            raise NotFoundError("profile", name, known=list_profiles())
        files.write_yaml(files.settings_file(), {"profile": name})


def set_profile_stack(profile: str, stack: str) -> None:
    """Make a stack the active one of a profile; what else the profile says stays. Call it with the lock held."""
    place = files.profile_file(profile)
    files.write_yaml(place, {**read_pointer(place), "stack": stack})


def profile_target(profile: str | None = None) -> str | None:
    """Return the cloud that a profile's stacks are deployed to, where it says one; the active profile unless told."""
    target = read_pointer(files.profile_file(profile or active_profile())).get("target")
    return None if target is None else str(target)


def set_profile_target(target: str | None, profile: str | None = None) -> None:
    """Say which cloud a profile's new stacks are deployed to.

    Args:
        target: `aws`, `localstack`, or the path of an endpoints file; `None` leaves it open again.
        profile: the active one unless told.
    """
    with files.registry_lock():
        place = files.profile_file(profile or active_profile())
        said = {key: value for key, value in read_pointer(place).items() if key != "target"}
        if target is not None:
            said["target"] = target
        files.write_yaml(place, {"stack": DEFAULT, **said})


def delete_profile(name: str) -> None:
    """Delete a profile without stacks.

    Raises:
        ConflictError: it is active or has stacks.
        UsageError: it is the `default` one.
    """
    with files.registry_lock():
        if name == DEFAULT:
            raise UsageError("The profile 'default' is always there.")
        if name not in list_profiles():
            raise NotFoundError("profile", name, known=list_profiles())
        if name == active_profile():
            raise ConflictError(
                f"The profile '{name}' is active.", hint="Set another first: rayform profile set default"
            )
        if held := files.names_in(files.stacks_folder(name)):
            raise ConflictError(f"The profile '{name}' has stacks.", why=f"They are: {', '.join(held)}.")
        folder = files.profile_file(name).parent
        files.remove_file(folder / "profile.yaml")
        try:
            if (folder / "stacks").is_dir():
                (folder / "stacks").rmdir()
            folder.rmdir()
        except OSError as error:
            raise storage_error(error, folder) from error
