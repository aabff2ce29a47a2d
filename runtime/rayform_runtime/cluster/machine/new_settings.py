"""Takes over on a running head what a deploy changed: worker groups and autostop, without a restart.

Ray's autoscaler reads its file anew at each update, and the watch reads the machine's settings at each look. What
would end workers waits while runs go on: Ray ends the workers of a group that is gone, whose machines are started
another way, or that has more of them than it may, busy or not. The rest (versions, the head's own shape) is made at
boot, so it waits until the head starts next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rayform_core.errors import IntegrityError, RemoteError
from rayform_core.files import file_lock, write_atomically
from rayform_runtime.cluster.machine.autoscaler_config import autoscaler_config
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.cluster.machine.start import AUTOSCALER_PATH

__all__ = ["SETTINGS_KEY", "Merged", "merge", "settings_wait", "take_settings"]

SETTINGS_KEY = "system/bootstrap/stack.json"
"""Where the provisioner puts them; its own constant, since neither room knows the other, and a test compares both."""
_WAITING = Path("/run/rayform/settings_wait")
_LOCK = Path("/run/rayform/settings.lock")
_GROUPS = ("worker_groups", "tags")
"""What the autoscaler's file is made of: taken over together or not at all."""
_LIVE = ("autostop",)
_OF_THE_MACHINE = ("node",)


@dataclass(frozen=True, slots=True)
class Merged:
    """What a head makes of new settings.

    Args:
        settings: what it goes by from now on.
        taken: keys of the settings that changed in them.
        waiting: keys that change once no run goes on.
        at_start: keys that change when the head starts next.
    """

    settings: dict[str, Any]
    taken: list[str]
    waiting: list[str]
    at_start: list[str]


def merge(old: Mapping[str, Any], new: Mapping[str, Any], *, busy: bool, autoscaled: bool) -> Merged:
    """Say which of the settings `new` a head that goes by `old` can take over now.

    Args:
        old: the machine's settings, with its own part under `node`.
        new: the stack's settings.
        busy: whether runs go on, whose workers must not end.
        autoscaled: whether Ray was started with an autoscaler.

    Raises:
        IntegrityError: `new` can't be understood.
    """
    changed = [key for key in sorted({*old, *new} - {*_OF_THE_MACHINE}) if old.get(key) != new.get(key)]
    whole = {**new, **{key: old[key] for key in _OF_THE_MACHINE if key in old}}
    try:
        before, after = (MachineSettings.model_validate(part) for part in (old, whole))
    except ValidationError as error:
        raise IntegrityError("The stack's new settings can't be understood.", why=f"{error}") from error
    groups = [key for key in changed if key in _GROUPS]
    at_start = [key for key in changed if key not in (*_GROUPS, *_LIVE)]
    waiting: list[str] = []
    if groups and not autoscaled and after.worker_groups:
        at_start += groups
    elif groups and busy and _may_end_workers(before, after):
        waiting = groups
    kept = {*at_start, *waiting}
    settings = {key: value for key, value in whole.items() if key not in kept}
    settings |= {key: old[key] for key in kept if key in old}
    return Merged(settings, [key for key in changed if key not in kept], waiting, sorted(at_start))


def take_settings(*, busy: bool) -> Merged:
    """Fetch the stack's settings and go by them, as far as this machine can without a restart. Idempotent.

    Args:
        busy: whether runs go on.

    Raises:
        RemoteError: the bucket can't be read; nothing changed.
        IntegrityError: what is there can't be understood; nothing changed.
    """
    with file_lock(_LOCK, timeout=60, what="the machine's settings"):
        settings = MachineSettings.read()
        path = MachineSettings.path()
        old = json.loads(path.read_text())
        merged = merge(old, _fetched(settings), busy=busy, autoscaled=AUTOSCALER_PATH.exists())
        if merged.taken:
            write_atomically(path, json.dumps(merged.settings, indent=2))
        if AUTOSCALER_PATH.exists():
            # Said again even where nothing changed: a take-over that was killed may have come as far as the other file.
            config = autoscaler_config(MachineSettings.model_validate(merged.settings))
            write_atomically(AUTOSCALER_PATH, json.dumps(config, indent=2))
        if merged.waiting:
            _WAITING.touch()
        else:
            _WAITING.unlink(missing_ok=True)
    return merged


def settings_wait() -> bool:
    """Whether settings wait for the last run to end."""
    return _WAITING.exists()


def _may_end_workers(before: MachineSettings, after: MachineSettings) -> bool:
    old, new = (autoscaler_config(settings)["available_node_types"] for settings in (before, after))
    return any(
        name not in new
        or new[name]["node_config"] != group["node_config"]
        or new[name]["max_workers"] < group["max_workers"]
        for name, group in old.items()
    )


def _fetched(settings: MachineSettings) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        body = settings.client("s3").get_object(Bucket=settings.bucket, Key=SETTINGS_KEY)["Body"].read()
        found = json.loads(body)
    except (BotoCoreError, ClientError) as error:
        raise RemoteError("The stack's settings can't be read from its bucket.", why=f"{error}.") from error
    except ValueError as error:
        raise IntegrityError("The stack's new settings can't be understood.", why=f"{error}.") from error
    if not isinstance(found, dict):
        raise IntegrityError("The stack's new settings can't be understood.", why="They are no object.")
    return found
