"""What a running head takes over of changed settings, and what has to wait."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rayform_core.errors import IntegrityError, RemoteError
from rayform_runtime.cluster.machine import new_settings
from rayform_runtime.cluster.machine.autostop import Activity, IdleTimer
from rayform_runtime.cluster.machine.new_settings import merge, settings_wait, take_settings
from rayform_runtime.cluster.machine.settings import MachineSettings

STACK: dict[str, Any] = {
    "version": 1,
    "name": "vision",
    "reference": "vision-1a2b3c4d",
    "region": "eu-central-1",
    "bucket": "b",
    "ray_version": "2.60.0",
    "python_version": "3.11",
    "ray_token_secret": "s",
    "tags": {"team": "vision"},
    "autostop": {"enabled": True, "idle_minutes": 60},
    "worker_groups": {
        "cpu": {"launch_template": "vision-cpu", "subnet_ids": ["subnet-1"], "min": 0, "max": 3, "cpus": 4}
    },
}
NODE = {"role": "head", "region": "eu-central-1"}
OLD = {**STACK, "node": NODE}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the stack's settings with the one at `path` changed; `...` takes it away."""
    new = copy.deepcopy(STACK)
    *parents, last = path.split(".")
    place = new
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return new


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("autostop.idle_minutes", 5),
        ("autostop.enabled", False),
        ("worker_groups.cpu.max", 9),
        ("worker_groups.cpu.min", 1),
        ("worker_groups.gpu", {"launch_template": "vision-gpu", "gpus": 1}),
    ],
)
def test_what_ends_no_worker_is_taken_at_once(path, value):
    """Timers, more workers and new groups are taken over while runs go on; the machine's own part stays."""
    new = changed(path, value)
    merged = merge(OLD, new, busy=True, autoscaled=True)
    assert merged.settings == {**new, "node": NODE}
    assert merged.changes.taken == [path.partition(".")[0]]
    assert merged.changes.waiting == merged.changes.at_start == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("worker_groups.cpu.max", 1),
        ("worker_groups.cpu", ...),
        ("worker_groups.cpu.subnet_ids", ["subnet-2"]),
        ("tags", {"team": "sound"}),
    ],
)
def test_what_may_end_workers_waits_for_the_last_run(path, value):
    """A lower maximum, a group that is gone or is started another way waits while runs go on, and is then taken."""
    new = changed(path, value)
    key = path.partition(".")[0]
    busy = merge(OLD, new, busy=True, autoscaled=True)
    assert (busy.changes.taken, busy.changes.waiting, busy.settings) == ([], [key], OLD)
    idle = merge(OLD, new, busy=False, autoscaled=True)
    assert (idle.changes.taken, idle.changes.waiting, idle.settings) == ([key], [], {**new, "node": NODE})


def test_the_timer_does_not_wait_with_the_groups():
    """Of two changes, the harmless one is taken, and the other is found again at the next look."""
    new = changed("worker_groups.cpu.max", 1)
    new["autostop"]["idle_minutes"] = 5
    merged = merge(OLD, new, busy=True, autoscaled=True)
    assert (merged.changes.taken, merged.changes.waiting) == (["autostop"], ["worker_groups"])
    assert merged.settings["worker_groups"] == OLD["worker_groups"]
    again = merge(merged.settings, new, busy=False, autoscaled=True)
    assert (again.changes.taken, again.settings) == (["worker_groups"], {**new, "node": NODE})


@pytest.mark.parametrize(
    ("path", "value"), [("ray_version", "2.61.0"), ("head", {"cpus": 8}), ("from_a_newer_deploy", 1)]
)
def test_what_is_made_at_boot_waits_for_the_next_start(path, value):
    """Versions, the head's shape and what this version doesn't know stay as they are, and are named."""
    merged = merge(OLD, changed(path, value), busy=False, autoscaled=True)
    assert (merged.changes.taken, merged.changes.at_start, merged.settings) == ([], [path], OLD)


def test_the_first_group_of_a_head_without_autoscaler_waits_for_its_next_start():
    """Ray takes an autoscaler at its start alone."""
    old = {**OLD, "worker_groups": {}}
    merged = merge(old, STACK, busy=False, autoscaled=False)
    assert (merged.changes.taken, merged.changes.at_start, merged.settings) == ([], ["worker_groups"], old)
    timer = {**STACK, "worker_groups": {}, "tags": {}, "autostop": {"enabled": False}}
    assert merge(old, timer, busy=True, autoscaled=False).changes.taken == ["autostop", "tags"]


def test_the_same_settings_change_nothing():
    """A deploy without a change leaves the head as it is."""
    merged = merge(OLD, copy.deepcopy(STACK), busy=True, autoscaled=True)
    assert (merged.changes.taken, merged.changes.waiting, merged.changes.at_start, merged.settings) == (
        [],
        [],
        [],
        OLD,
    )


def test_a_new_autostop_counts_from_its_coming():
    """A shorter time doesn't stop a head that was idle for longer already, and the same one counts on."""
    timer = IdleTimer(3600, now=0)
    timer.set_idle_seconds(3600, now=2000)
    assert timer.look(Activity(True), now=2000) == 1600
    timer.set_idle_seconds(600, now=2000)
    assert timer.look(Activity(True), now=2100) == 500
    timer.set_idle_seconds(None, now=2200)
    assert timer.look(Activity(True), now=1e9) is None


class Bucket:
    """S3's `get_object`, at the boundary of the machine."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def get_object(self, **_: str) -> dict[str, Any]:
        if self.text is None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")
        return {"Body": io.BytesIO(self.text.encode())}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A head's files in a folder of the test's own, and its bucket."""
    monkeypatch.setenv("RAYFORM_STACK_SETTINGS", str(tmp_path / "stack.json"))
    for name in ("_WAITING", "_LOCK", "AUTOSCALER_PATH"):
        monkeypatch.setattr(new_settings, name, tmp_path / name)
    (tmp_path / "stack.json").write_text(json.dumps(OLD))
    (tmp_path / "AUTOSCALER_PATH").write_text("{}")
    bucket = Bucket(json.dumps(STACK))
    monkeypatch.setattr(MachineSettings, "client", lambda *_: bucket)
    return bucket


def test_the_autoscaler_s_file_follows_and_a_waiting_change_comes_once_runs_ended(machine, tmp_path):
    """What waits is kept in mind on the machine until it was taken; both files then say the same."""
    machine.text = json.dumps(changed("worker_groups.cpu.max", 1))
    assert take_settings(busy=True).waiting == ["worker_groups"]
    assert settings_wait()
    assert json.loads((tmp_path / "AUTOSCALER_PATH").read_text())["max_workers"] == 3
    assert take_settings(busy=False).taken == ["worker_groups"]
    assert not settings_wait()
    assert json.loads((tmp_path / "AUTOSCALER_PATH").read_text())["max_workers"] == 1
    assert MachineSettings.read().worker_groups["cpu"].max == 1
    assert MachineSettings.read().node.role == "head"


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, RemoteError), ("{", IntegrityError), ("[]", IntegrityError), ("{}", IntegrityError)],
)
def test_settings_that_cannot_be_read_change_nothing(machine, tmp_path, text, error):
    """A bucket that refuses and an object that isn't the stack's leave the machine as it was."""
    machine.text = text
    with pytest.raises(error):
        take_settings(busy=False)
    assert json.loads((tmp_path / "stack.json").read_text()) == OLD
    assert (tmp_path / "AUTOSCALER_PATH").read_text() == "{}"


def test_settings_are_fetched_from_where_the_provisioner_puts_them():
    """Both rooms name one object of the bucket."""
    from rayform_provisioner.terraform.render import SETTINGS_KEY as WRITTEN_TO
    from rayform_runtime.cluster.machine.new_settings import SETTINGS_KEY as READ_FROM

    assert READ_FROM == WRITTEN_TO
