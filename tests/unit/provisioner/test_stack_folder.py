"""A stack's folder: which cloud and region the stack is in, and when that may change."""

from __future__ import annotations

import os
import pwd
import subprocess

import pytest
from click.testing import CliRunner

from rayform.cli.stack.recovery import new_key as new_key_command
from rayform.cli.stack.recovery import unlock as unlock_command
from rayform.cli.stack.status import status as status_command
from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.files import write_atomically
from rayform_provisioner.clouds import LockInfo
from rayform_provisioner.command import Command
from rayform_provisioner.definitions.presets import preset
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.stack_folder import StackFolder, whoami
from rayform_provisioner.targets import AWS, Target
from rayform_provisioner.terraform.errors import Diagnostic, StateLockedError, TerraformError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    return StackFolder("demo")


def test_a_planned_stack_is_nowhere_yet(folder):
    """After a plan that made nothing, the stack may be planned for another cloud or region, with a new reference."""
    first = folder.begin("eu-central-1", "aws")
    (folder.work / ".terraform").mkdir(parents=True)
    second = folder.begin("us-east-1", "localstack")
    assert (second.region, second.target) == ("us-east-1", "localstack")
    assert second.reference != first.reference
    assert second.ssh_public_key == first.ssh_public_key
    assert not folder.work.exists()
    assert folder.begin("us-east-1", "localstack") == second


@pytest.mark.parametrize("status", ["deploying", "deployed", "destroying"])
def test_a_stack_that_may_have_resources_stays_where_it_is(folder, status):
    """Once a deploy began, another region or cloud is refused."""
    record = folder.begin("eu-central-1", "aws")
    record.status = status
    folder.save(record)
    with pytest.raises(ConflictError, match="Stack 'demo' is in target 'aws'"):
        folder.begin("eu-central-1", "localstack")


def test_holder_is_a_living_command_alone(folder):
    """The mark of a killed command is not a holder."""
    folder.begin("eu-central-1", "aws")
    assert folder.holder() is None
    running = folder.mark_running("rayform stack deploy")
    assert folder.holder() == running
    gone = subprocess.Popen(["true"])
    gone.wait()
    write_atomically(folder.path / "running.json", running.model_copy(update={"pid": gone.pid}).model_dump())
    assert folder.holder() is None


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("planned", "never deployed"),
        ("deploying", "Continue: rayform stack deploy"),
        ("destroying", "Continue: rayform stack destroy demo"),
    ],
)
def test_status_of_an_unfinished_stack_says_how_to_go_on(folder, status, sentence):
    """A stack that a kill left half-way shows the command that ends the half."""
    record = folder.begin("eu-central-1", "aws")
    record.status = status
    folder.save(record)
    shown = CliRunner().invoke(status_command, ["demo"])
    assert (shown.exit_code, sentence in shown.output) == (0, True), shown.output


def test_outputs_of_an_unfinished_deploy_are_an_error(folder):
    """A stack whose first deploy was killed has no outputs, and says so instead of printing nothing."""
    record = folder.begin("eu-central-1", "aws")
    record.status = "deploying"
    folder.save(record)
    with pytest.raises(NotFoundError, match="There is no deployed stack 'demo'"):
        Lifecycle("demo", AWS).outputs()


def test_a_killed_plan_leaves_a_lock_at_worst(folder):
    """A plan's mark says that it changes nothing, except if the killed command before it may have changed something."""
    assert not folder.mark_running("rayform stack plan", changes=False).changes
    killed = folder.mark_running("rayform stack deploy")
    assert folder.mark_running("rayform stack plan", killed, changes=False).changes


def test_a_lost_key_is_replaced(folder):
    """A new key replaces the old one in the record, and the old one's files are kept next to it."""
    before = folder.begin("eu-central-1", "aws").ssh_public_key
    folder.key_file.unlink()
    Lifecycle("demo", AWS).replace_key()
    record = folder.existing()
    assert record.ssh_public_key != before
    assert folder.key_file.with_suffix(".pub").read_text().strip() == record.ssh_public_key
    assert folder.key_file.with_name("id_ed25519.pub.old").read_text().strip() == before
    assert folder.key_file.stat().st_mode & 0o077 == 0


def test_an_existing_key_is_only_replaced_if_the_user_says_so(folder):
    """`rayform stack new-key` asks before it replaces a key, but not before it replaces a lost one."""
    before = folder.begin("eu-central-1", "aws").ssh_public_key
    refused = CliRunner().invoke(new_key_command, ["demo"])
    assert isinstance(refused.exception, UsageError) and "has a key" in refused.exception.message
    assert folder.existing().ssh_public_key == before
    assert CliRunner().invoke(new_key_command, ["demo", "--yes"]).exit_code == 0
    replaced = folder.existing().ssh_public_key
    assert replaced != before
    folder.key_file.unlink()
    assert CliRunner().invoke(new_key_command, ["demo"]).exit_code == 0
    assert folder.existing().ssh_public_key != replaced


def test_nobody_holds_the_lock_of_a_state_on_this_machine(folder):
    """`rayform stack unlock` has nothing to take where the state is in a folder: that lock dies with its holder."""
    folder.begin("eu-central-1", "aws")
    result = CliRunner().invoke(unlock_command, ["demo", "--yes"])
    assert result.exit_code == 0
    assert "Stack 'demo' isn't locked" in result.output


def test_no_key_that_was_set_aside_is_lost(folder):
    """Two new keys in a row keep the first next to them, which the running head still accepts."""
    folder.begin("eu-central-1", "aws")
    first = folder.key_file.read_text()
    folder.replace_key()
    folder.replace_key()
    assert folder.key_file.with_name("id_ed25519.old").read_text() == first
    assert folder.key_file.with_name("id_ed25519.old2").exists()
    assert folder.key_file.with_name("id_ed25519.pub.old2").exists()


def test_a_user_has_the_name_that_terraform_writes(monkeypatch):
    """LOGNAME and USER, which `su` and `sudo -E` leave as they were, don't hide whose a lock is."""
    before = whoami()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert whoami() == before
    assert before.split("@")[0] == pwd.getpwuid(os.getuid()).pw_name


def test_a_lock_that_could_not_be_released_is_looked_for(folder):
    """The mark stays where Terraform may have left its lock, so that the next command knows it for its own."""
    folder.begin("eu-central-1", "aws")
    stuck = Diagnostic("error", "Error releasing the state lock", "Error message: connection reset")
    for error, marked in (
        (TerraformError("apply", [stuck], []), True),
        (TerraformError("apply", [], [], killed=True), True),
        (TerraformError("apply", [Diagnostic("error", "no")], []), False),
    ):
        with (
            pytest.raises(TerraformError),
            Command.holding(Lifecycle("demo", AWS), "rayform stack refresh", changes=False),
        ):
            raise error
        with folder.locked("test") as left:
            assert (left is not None) is marked
        folder.mark_ended()


def test_a_locked_state_is_not_reported_as_a_locked_folder(folder):
    """The error names the holder of the lock in the bucket, even if a killed command of this machine left its mark."""
    folder.mark_running("rayform stack deploy")
    holder = LockInfo("1", "ann@laptop", "OperationTypeApply", "2026-01-02 03:04:05 +0000 UTC")
    with (
        pytest.raises(StateLockedError, match="ann@laptop"),
        Command.holding(Lifecycle("demo", AWS), "rayform stack plan", changes=False),
    ):
        raise StateLockedError(holder, "demo")


@pytest.mark.parametrize("command", ["drift", "refresh", "lock_holder", "destroy"])
def test_another_cloud_is_not_asked_about_a_stack(folder, command):
    """A command for another cloud than the stack's is refused, because it would find nothing there."""
    record = folder.begin("eu-central-1", "aws")
    record.status = "deployed"
    folder.save(record)
    write_atomically(folder.definition_file, preset("small", stack="demo"))
    elsewhere = Target("localstack", {"s3": "http://127.0.0.1:1"})
    call = getattr(Lifecycle("demo", elsewhere), command)
    with pytest.raises(ConflictError, match="is in the cloud 'aws', not 'localstack'"):
        call(lambda summary: True) if command == "destroy" else call()
