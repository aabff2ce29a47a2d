"""Which cloud a command goes to: the one of the flag, of the stack, of the variable, or of the profile."""

from __future__ import annotations

import json

import pytest

from rayform import stacks
from rayform.cli.stack.selection import lifecycle_of
from rayform_core.errors import PrerequisiteError
from rayform_provisioner.clouds import MissingCredentialsError
from rayform_provisioner.command import Command
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.stack_folder import StackFolder
from rayform_provisioner.targets import AWS
from rayform_provisioner.terraform.errors import Diagnostic, TerraformError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A stack's folder in a home whose emulated cloud is up."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    for variable in ("RAYFORM_PROFILE", "RAYFORM_TARGET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    endpoints = tmp_path / "home" / "localstack" / "endpoints.json"
    endpoints.parent.mkdir(parents=True)
    endpoints.write_text(json.dumps({"services": {"ec2": "http://127.0.0.1:1"}}))
    return StackFolder("demo")


def target_of(flag: str | None = None, *, may_move: bool = True) -> str:
    """The cloud that a command goes to."""
    return lifecycle_of("demo", flag, quiet=True, may_move=may_move)[0].target.name


def begun(folder: StackFolder, target: str, status: str) -> None:
    record = folder.begin("eu-central-1", target)
    record.status = status
    folder.save(record)


def test_a_planned_stack_goes_where_the_profile_says_by_now(folder):
    """A plan doesn't bind a stack to a cloud: the flag counts first, then the variable, then the profile."""
    begun(folder, "aws", "planned")
    assert target_of() == "aws"
    stacks.set_profile_target("localstack")
    assert target_of() == "localstack"
    assert target_of("aws") == "aws"
    assert target_of(may_move=False) == "aws"


def test_the_variable_goes_before_the_profile(folder, monkeypatch):
    """RAYFORM_TARGET decides where a planned stack goes, whatever the profile says."""
    begun(folder, "localstack", "planned")
    stacks.set_profile_target("localstack")
    monkeypatch.setenv("RAYFORM_TARGET", "aws")
    assert target_of() == "aws"


def test_a_stack_that_was_planned_for_the_emulated_cloud_is_not_sent_to_aws(folder):
    """If neither variable nor profile names a cloud, a planned stack goes to the one that it was planned for."""
    begun(folder, "localstack", "planned")
    assert target_of() == "localstack"


@pytest.mark.parametrize("status", ["deploying", "deployed", "destroying"])
def test_a_deployed_stack_stays_in_its_cloud(folder, monkeypatch, status):
    """Once a deploy began, neither profile nor variable takes a stack elsewhere."""
    begun(folder, "aws", status)
    stacks.set_profile_target("localstack")
    monkeypatch.setenv("RAYFORM_TARGET", "localstack")
    assert target_of() == "aws"


def test_a_planned_stack_is_forgotten_from_any_cloud(folder):
    """A stack that was only planned is nowhere, so any cloud will do to destroy it."""
    begun(folder, "aws", "planned")
    life, _ = lifecycle_of("demo", "localstack", quiet=True)
    assert life.destroy(lambda summary: True) == []
    assert folder.record() is None


@pytest.mark.parametrize(
    "error",
    [
        MissingCredentialsError(
            "There are no AWS credentials.", why="None found.", hint="Or: --target localstack."
        ),
        TerraformError("plan", [Diagnostic("error", "no valid credential sources found")], []),
    ],
    ids=["boto3", "terraform"],
)
def test_missing_keys_name_the_cloud_that_a_stack_is_deployed_to(folder, error):
    """Without keys, the error names the stack's target and how that can change, and offers no other target."""
    begun(folder, "aws", "deployed")
    with (
        pytest.raises((PrerequisiteError, TerraformError)) as caught,
        Command.holding(Lifecycle("demo", AWS), "plan"),
    ):
        raise error
    assert "Stack 'demo' is deployed to target 'aws'" in str(caught.value.why)
    assert "rayform stack destroy demo" in str(caught.value.hint)
    assert "--target localstack" not in str(caught.value)


def test_missing_keys_of_a_planned_stack_are_reported_unchanged(folder):
    """The error about a stack that was only planned doesn't call it deployed."""
    begun(folder, "aws", "planned")
    with pytest.raises(MissingCredentialsError) as caught, Command.holding(Lifecycle("demo", AWS), "plan"):
        raise MissingCredentialsError("There are no AWS credentials.", hint="Or: --target localstack.")
    assert (caught.value.why, caught.value.hint) == (None, "Or: --target localstack.")
