"""Applies to a running head what a deploy changed: worker groups and autostop, without a restart.

Ray's autoscaler reads its file again at each update, and the watch reads the machine's settings at each look.
Changes that would end workers wait for the end of all runs: Ray ends workers, busy or not, if their group is gone,
if its machines are started another way, or if it has more of them than its maximum. The rest (versions, the head's
own shape) is made at boot, so it waits until the head starts next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rayform_core.errors import IntegrityError, RemoteError
from rayform_core.files import file_lock, write_atomically
from rayform_runtime.cluster.machine.answers import SettingsChanges
from rayform_runtime.cluster.machine.autoscaler_config import autoscaler_config, node_types
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.cluster.machine.start import AUTOSCALER_PATH

__all__ = ["SETTINGS_KEY", "Merged", "merge", "settings_wait", "take_settings"]

SETTINGS_KEY = "system/bootstrap/stack.json"
"""Where the provisioner puts them. It has a constant of its own, since neither room imports the other; a test
compares both."""
_WAITING = Path("/run/rayform/settings_wait")
_LOCK = Path("/run/rayform/settings.lock")
_GROUPS = ("worker_groups", "tags")
"""The keys that the autoscaler's file is made of: the head applies both or neither."""
_LIVE = ("autostop",)
_OF_THE_MACHINE = ("node",)


@dataclass(frozen=True, slots=True)
class Merged:
    """New settings, as far as a head can apply them now.

    Args:
        settings: the head's settings from now on.
        changes: which keys changed, and when the head applies each.
    """

    settings: dict[str, object]
    changes: SettingsChanges


def merge(old: Mapping[str, object], new: Mapping[str, object], *, busy: bool, autoscaled: bool) -> Merged:
    """Find out which of the settings `new` a head with the settings `old` can apply now.

    Args:
        old: the machine's settings, with its own part under `node`.
        new: the stack's settings.
        busy: whether runs are running, whose workers must not end.
        autoscaled: whether Ray was started with an autoscaler.

    Raises:
        IntegrityError: `new` can't be understood.
    """
    complete = _replaced(new, old, _OF_THE_MACHINE)
    changed = sorted(key for key in {*old, *complete} if old.get(key) != complete.get(key))
    before, after = _validated(old), _validated(complete)
    groups = [key for key in changed if key in _GROUPS]
    at_start = [key for key in changed if key not in (*_GROUPS, *_LIVE)]
    waiting: list[str] = []
    if not autoscaled and after.worker_groups:
        at_start = sorted([*at_start, *groups])
    elif busy and _may_end_workers(before, after):
        waiting = groups
    kept = {*at_start, *waiting}
    immediate = [key for key in changed if key not in kept]
    changes = SettingsChanges(taken=immediate, waiting=waiting, at_start=at_start)
    return Merged(_replaced(complete, old, kept), changes)


def _replaced(
    settings: Mapping[str, object], other: Mapping[str, object], keys: Iterable[str]
) -> dict[str, object]:
    """Return the settings with the values of some keys as `other` has them, or without them if it has none."""
    rest = {key: value for key, value in settings.items() if key not in keys}
    return rest | {key: other[key] for key in keys if key in other}


def _validated(settings: Mapping[str, object]) -> MachineSettings:
    try:
        return MachineSettings.model_validate(settings)
    except ValidationError as error:
        raise _not_understood(f"{error}") from error


def _not_understood(why: str) -> IntegrityError:
    return IntegrityError("The head doesn't understand the stack's new settings.", why=why)


def take_settings(*, busy: bool) -> SettingsChanges:
    """Fetch the stack's settings, and apply those that need no restart of this machine. Idempotent.

    Args:
        busy: whether runs are running.

    Raises:
        RemoteError: the bucket can't be read; nothing changed.
        IntegrityError: what is there can't be understood; nothing changed.
    """
    with file_lock(_LOCK, timeout=60, what="the machine's settings"):
        settings = MachineSettings.read()
        path = MachineSettings.path()
        old = json.loads(path.read_text())
        merged = merge(old, _fetched(settings), busy=busy, autoscaled=AUTOSCALER_PATH.exists())
        if merged.changes.taken:
            write_atomically(path, json.dumps(merged.settings, indent=2))
        if AUTOSCALER_PATH.exists():
            # Written even if nothing changed: a call that was killed may have written the other file alone.
            config = autoscaler_config(MachineSettings.model_validate(merged.settings))
            write_atomically(AUTOSCALER_PATH, json.dumps(config, indent=2))
        if merged.changes.waiting:
            _WAITING.touch()
        else:
            _WAITING.unlink(missing_ok=True)
    return merged.changes


def settings_wait() -> bool:
    """Whether settings wait for the last run to end."""
    return _WAITING.exists()


def _may_end_workers(before: MachineSettings, after: MachineSettings) -> bool:
    old, new = node_types(before), node_types(after)
    return any(
        name not in new
        or new[name]["node_config"] != group["node_config"]
        or new[name]["max_workers"] < group["max_workers"]
        for name, group in old.items()
    )


def _fetched(settings: MachineSettings) -> dict[str, object]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        body = settings.client("s3").get_object(Bucket=settings.bucket, Key=SETTINGS_KEY)["Body"].read()
        fetched = json.loads(body)
    except (BotoCoreError, ClientError) as error:
        raise RemoteError(
            "The head can't read the stack's settings from its bucket.", why=f"{error}."
        ) from error
    except ValueError as error:
        raise _not_understood(f"{error}.") from error
    if not isinstance(fetched, dict):
        raise _not_understood("They are not a JSON object.")
    return fetched
