"""Profiles: named groups of stacks, and which one is active."""

from __future__ import annotations

import os
from pathlib import Path

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
_POINTER_KEYS: files.Keys = {"stack": str, "profile": str, "target": str}


def active_profile() -> str:
    """Return the active profile's name.

    Raises:
        NotFoundError: the profile that is set doesn't exist.
    """
    if name := os.environ.get("RAYFORM_PROFILE"):
        source = "$RAYFORM_PROFILE"
    elif (pin := files.find_pin()) and (name := read_pointer(pin).get("profile")):
        source = str(pin)
    elif name := read_pointer(files.settings_file()).get("profile"):
        source = str(files.settings_file())
    else:
        return DEFAULT
    if name not in list_profiles():
        raise NotFoundError("profile", name, known=list_profiles(), why=f"It is set by {source}.")
    return str(name)


def read_pointer(path: Path) -> dict[str, str]:
    """Return the contents of a file that names an active stack or profile; empty if it doesn't exist."""
    return files.read_yaml(path, keys=_POINTER_KEYS) or {}


def list_profiles() -> list[str]:
    """Return the profiles' names, `default` first."""
    folder = home() / "profiles"
    try:
        names = sorted(e.name for e in folder.iterdir() if e.is_dir())
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise storage_error(error, folder) from error
    return [DEFAULT, *(name for name in names if name != DEFAULT)]


def create_profile(name: str) -> None:
    """Create a profile, with `default` as its active stack.

    Raises:
        ConflictError: there is a profile of this name.
    """
    with files.registry_lock():
        path = files.profile_file(name)
        if name in list_profiles():
            raise ConflictError(
                f"There is a profile '{name}' already.", hint=f"Activate it: rayform profile set {name}"
            )
        files.write_yaml(path, {"stack": DEFAULT})


def set_active_profile(name: str) -> None:
    """Make a profile the active one.

    Raises:
        NotFoundError: there is no such profile.
    """
    with files.registry_lock():
        if name not in list_profiles():
            raise NotFoundError("profile", name, known=list_profiles())
        files.write_yaml(files.settings_file(), {"profile": name})


def set_profile_stack(profile: str, stack: str) -> None:
    """Make a stack the active one of a profile, and keep its other settings. The caller holds the registry's lock."""
    place = files.profile_file(profile)
    files.write_yaml(place, {**read_pointer(place), "stack": stack})


def profile_target(profile: str | None = None) -> str | None:
    """Return the cloud for the stacks of a profile (by default the active one), or `None` if it isn't set."""
    target = read_pointer(files.profile_file(profile or active_profile())).get("target")
    return None if target is None else str(target)


def set_profile_target(target: str | None, profile: str | None = None) -> None:
    """Set the cloud that a profile's new stacks are deployed to.

    Args:
        target: `aws`, `localstack`, or the path of an endpoints file; `None` removes the setting.
        profile: the profile; the active one by default.
    """
    with files.registry_lock():
        place = files.profile_file(profile or active_profile())
        files.write_yaml(place, {"stack": DEFAULT, **read_pointer(place), "target": target})


def delete_profile(name: str) -> None:
    """Delete a profile without stacks.

    Raises:
        ConflictError: it is active or has stacks.
        UsageError: it is the `default` one.
    """
    with files.registry_lock():
        if name == DEFAULT:
            raise UsageError("The profile 'default' is built in and can't be deleted.")
        if name not in list_profiles():
            raise NotFoundError("profile", name, known=list_profiles())
        if name == active_profile():
            raise ConflictError(
                f"The profile '{name}' is active.",
                hint="Activate another one first: rayform profile set default",
            )
        if names := files.names_in(files.stacks_folder(name)):
            raise ConflictError(f"The profile '{name}' has stacks.", why=f"They are: {', '.join(names)}.")
        folder = files.profile_file(name).parent
        files.remove_file(folder / "profile.yaml")
        try:
            if (folder / "stacks").is_dir():
                (folder / "stacks").rmdir()
            folder.rmdir()
        except OSError as error:
            raise storage_error(error, folder) from error
