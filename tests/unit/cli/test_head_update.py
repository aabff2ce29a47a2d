"""What a deploy does about the head: it leaves a sleeping one asleep, and sends an awake one its new settings."""

from __future__ import annotations

from typing import Any

import pytest

from rayform.cli.stack import head_update
from rayform.cli.stack.head_update import update_head
from rayform_core.errors import RemoteError
from rayform_core.version import __version__
from rayform_runtime.cluster.from_laptop import head as head_client
from rayform_runtime.cluster.from_laptop import power
from rayform_runtime.cluster.machine.answers import HeadStatus, SettingsChanges

NOTHING = SettingsChanges()


class Reported:
    """Keeps the lines that are reported to the user."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, text: str) -> None:
        self.lines.append(text)

    note = phase


class Deployed:
    """A deployed stack, as far as a deploy's end looks at it."""

    name = "vision"
    reported = True

    def __init__(self) -> None:
        self.waited: list[float] = []

    def registration(self) -> dict[str, Any]:
        return {"orchestrator": {"config": {"address": "ssh://ubuntu@127.0.0.1:9", "instance_id": "i-1"}}}

    def learn_host_keys(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return self.reported


class Cloud:
    """What the cloud and the head answer, one after the other; the last answer stays."""

    states = ("running",)
    statuses: tuple[Any, ...] = (HeadStatus(ready=True, phase="Ray runs", version=__version__),)
    answer: SettingsChanges | Exception = NOTHING
    asked = 0


@pytest.fixture
def cloud(monkeypatch):
    """A fake cloud and a fake head, at the boundaries of EC2 and SSH."""
    made = Cloud()

    def in_turn(what: str) -> Any:
        values = getattr(made, what)
        if len(values) > 1:
            setattr(made, what, values[1:])
        if isinstance(values[0], Exception):
            raise values[0]
        return values[0]

    class Head(head_client.ClusterHead):
        def status(self) -> HeadStatus:
            return in_turn("statuses")

        def take_settings(self) -> SettingsChanges:
            made.asked += 1
            if isinstance(made.answer, Exception):
                raise made.answer
            return made.answer

    monkeypatch.setattr(power, "head_state", lambda _: in_turn("states"))
    monkeypatch.setattr(head_client, "ClusterHead", Head)
    monkeypatch.setattr(head_update, "_ASK_THE_CLOUD_EVERY", 0.0)
    monkeypatch.setattr(head_update.time, "sleep", lambda _: None)
    return made


@pytest.mark.parametrize("state", ["stopping", "stopped"])
@pytest.mark.parametrize("wait", [True, False])
def test_a_head_that_sleeps_is_not_waited_for(cloud, state, wait):
    """Neither SSH nor the bucket is waited on, and nothing is asked of the head."""
    cloud.states, deployed = (state,), Deployed()
    assert update_head(deployed, Reported(), wait=wait) is False
    assert deployed.waited == [0] and cloud.asked == 0


@pytest.mark.parametrize("state", ["pending", "running"])
def test_a_head_that_boots_is_waited_for(cloud, state):
    """The deploy waits for a head that refuses SSH and then boots, until it is ready."""
    booting = HeadStatus(phase="starting Ray")
    cloud.states, cloud.statuses = (state,), (RemoteError("refused"), booting, *cloud.statuses)
    deployed, reported = Deployed(), Reported()
    assert update_head(deployed, reported, wait=True) is True
    assert reported.lines == ["Head: starting Ray", "The head is ready"]
    assert deployed.waited == [900] and cloud.asked == 1


def test_a_head_that_falls_asleep_meanwhile_ends_the_wait(cloud):
    """Autostop may stop the head while a deploy waits for it."""
    cloud.states, cloud.statuses = ("running", "running", "stopped"), (RemoteError("refused"),)
    assert update_head(Deployed(), Reported(), wait=True) is False


def test_a_cloud_that_does_not_tell_leaves_it_to_the_head(cloud):
    """Without the right to ask for instances a deploy waits as ever."""
    cloud.states = (RemoteError("AWS refuses."),)
    assert update_head(Deployed(), Reported(), wait=True) is True


def test_without_waiting_only_a_ready_head_is_reported(cloud):
    """`--no-wait` skips a head that boots or has not reported."""
    deployed = Deployed()
    deployed.reported = False
    assert update_head(deployed, Reported(), wait=False) is True
    cloud.statuses = (RemoteError("refused"), *cloud.statuses)
    assert update_head(Deployed(), Reported(), wait=False) is True
    assert cloud.asked == 0
    assert update_head(Deployed(), Reported(), wait=False) is True
    assert cloud.asked == 1


def test_what_the_head_does_with_the_changes_is_said(cloud):
    """What it took, what waits for its runs, and what needs a restart, with the commands."""
    cloud.answer = SettingsChanges(taken=["autostop"], waiting=["worker_groups"], at_start=["ray_version"])
    reported = Reported()
    update_head(Deployed(), reported, wait=True)
    text = "\n".join(reported.lines)
    assert "The head took over: autostop" in text
    assert "When no run is running, the head takes over: worker groups" in text
    assert "When it starts next, the head takes over: Ray's version. `rayform stack stop vision`" in text


def test_a_head_that_cannot_take_them_keeps_its_settings_and_that_is_said(cloud):
    """An error of the head's, or an older Rayform there, is reported with the two commands; the deploy succeeds."""
    restart = "`rayform stack stop vision`, then `rayform stack start vision`"
    cloud.answer, reported = RemoteError("no such bucket"), Reported()
    assert update_head(Deployed(), reported, wait=True) is True
    assert "no such bucket" in reported.lines[-2] and restart in reported.lines[-1]
    cloud.statuses, reported = (HeadStatus(ready=True, phase="Ray runs", version="0.0.1"),), Reported()
    assert update_head(Deployed(), reported, wait=True) is True
    assert "0.0.1" in reported.lines[-1] and restart in reported.lines[-1]
    assert cloud.asked == 1
