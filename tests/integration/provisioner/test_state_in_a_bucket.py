"""A stack's state in a bucket: its locks, its moves, and what could not be saved; real Terraform against moto."""

from __future__ import annotations

import json
import shutil
import time
import uuid

import pytest

from rayform_core.errors import ConflictError, RemoteError
from rayform_provisioner.aws.clients import client
from rayform_provisioner.clouds import LockInfo
from rayform_provisioner.definitions.definition import load_definition
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.stack_folder import now, whoami
from rayform_provisioner.targets import resolve_target
from rayform_provisioner.terraform.errors import StateLockedError, TerraformError
from rayform_provisioner.terraform.render import render_state_target
from rayform_provisioner.terraform.runner import UNSAVED_FILE, Terraform
from rayform_provisioner.terraform.settings import TerraformSettings
from rayform_provisioner.terraform.state_place import present_place

pytestmark = [pytest.mark.terraform, pytest.mark.moto, pytest.mark.slow, pytest.mark.timeout(300)]

REGION = "eu-central-1"
KEY = "rayform/x.tfstate"


@pytest.fixture
def target(endpoints):
    """The cloud that answers."""
    return resolve_target(str(endpoints))


@pytest.fixture
def bucket(target):
    """Makes a bucket for a state, and returns its name."""

    def make():
        name = f"state-{uuid.uuid4().hex[:8]}"
        where = {"LocationConstraint": REGION}
        client(target, "s3", REGION).create_bucket(Bucket=name, CreateBucketConfiguration=where)
        return name

    return make


@pytest.fixture
def stack(stack_home, target):
    """A stack that was planned, whose working folder a test fills itself."""
    made = Lifecycle("mover", target)
    made.folder.begin(REGION, target.name)
    made.folder.work.mkdir()
    return made


def write(stack, bucket, resources):
    """Write a root module that needs no provider, with its state in `bucket`; return a digest."""
    backend = {"s3": {"bucket": bucket, "key": KEY, "region": REGION, "use_lockfile": True}}
    root = {"resource": {"terraform_data": {f"r{number}": {"input": "x"} for number in range(resources)}}}
    backend = render_state_target(backend, stack.target)
    (stack.folder.work / "main.tf.json").write_text(json.dumps(root | {"terraform": {"backend": backend}}))
    # As where a provider was chosen; without it every `prepare` runs `init`.
    (stack.folder.work / ".terraform.lock.hcl").touch()
    return bucket


def run(stack):
    """Return a Terraform in the stack's working folder."""
    return Terraform(stack.folder.work, TerraformSettings(), stack.target.environment())


def apply(stack, bucket, resources, left=None):
    """Bring that root module about; returns what the state then holds."""
    terraform = run(stack)
    stack.state.prepare(terraform, write(stack, bucket, resources), left)
    terraform.plan_to(stack.folder.work / "plan")
    terraform.apply_plan(stack.folder.work / "plan")
    return terraform.pull_state()


def lock(target, bucket, who, created, key=KEY):
    """Put a lock next to the state, as Terraform does."""
    told = {"ID": str(uuid.uuid4()), "Operation": "OperationTypeApply", "Who": who, "Version": "1.11.4"}
    told |= {"Info": "", "Created": f"{created[:19]}Z", "Path": f"{bucket}/{key}"}
    client(target, "s3", REGION).put_object(Bucket=bucket, Key=f"{key}.tflock", Body=json.dumps(told))


def test_an_old_state_is_not_carried_over_a_newer_one(stack, bucket, tmp_path):
    """A second machine that learns late where the state moved uses the state there, and doesn't overwrite it."""
    here, there = bucket(), bucket()
    apply(stack, here, 1)
    other_machine = tmp_path / "other"
    shutil.copytree(stack.folder.work, other_machine)
    time.sleep(1.1)  # a bucket's times are whole seconds
    newer = apply(stack, there, 3)
    assert len(newer["resources"]) == 3

    shutil.rmtree(stack.folder.work)
    other_machine.rename(stack.folder.work)
    stack.state.prepare(run(stack), write(stack, there, 3), None)
    assert run(stack).pull_state()["resources"] == newer["resources"]

    time.sleep(1.1)
    assert len(apply(stack, there, 2)["resources"]) == 2
    assert len(apply(stack, here, 2)["resources"]) == 2, (
        "back over the old one, which this machine knows to be old"
    )


def test_a_killed_move_is_continued(stack, bucket):
    """Both locks of a killed move are taken away where they are this machine's, and found by `unlock` where not."""
    here, there = bucket(), bucket()
    apply(stack, here, 1)
    left = stack.folder.mark_running("rayform stack deploy")
    for name in (here, there):
        lock(stack.target, name, whoami(), now())
    with stack.folder.locked("rayform stack deploy"):
        assert len(apply(stack, there, 1, left)["resources"]) == 1
    assert stack.lock_holder() is None

    lock(stack.target, there, "ann@laptop", now())
    with pytest.raises(StateLockedError, match=r"(?s)ann@laptop.*rayform stack unlock mover"):
        stack.state.prepare(run(stack), write(stack, here, 1), None)
    stack.unlock(stack.lock_holder())
    assert stack.lock_holder() is None
    with pytest.raises(ConflictError, match="That lock is gone"):
        stack.unlock(LockInfo(id=str(uuid.uuid4())))


def test_an_init_that_fails_is_repeated(stack, bucket):
    """After an `init` that moved the state and then failed, the definition before it can still be prepared for."""
    here, there = bucket(), bucket()
    apply(stack, here, 1)
    write(stack, there, 1)
    root = stack.folder.work / "main.tf.json"
    broken = json.loads(root.read_text())
    broken["terraform"]["required_providers"] = {"none": {"source": "registry.invalid/x/none"}}
    root.write_text(json.dumps(broken))
    with pytest.raises(TerraformError):
        stack.state.prepare(run(stack), there, None)
    assert present_place(stack.folder.work).bucket == there
    assert len(apply(stack, here, 1)["resources"]) == 1


def test_an_unsaved_state_waits_for_its_lock_and_its_bucket(stack, bucket):
    """A lost network leaves state and lock: the holder is named, an own lock is removed, and the state is kept."""
    name = bucket()
    state = apply(stack, name, 1)
    unsaved = stack.folder.work / UNSAVED_FILE
    unsaved.write_text(json.dumps(state | {"serial": state["serial"] + 1, "outputs": {}}))
    lock(stack.target, name, "ann@laptop", now())
    with pytest.raises(StateLockedError, match="ann@laptop"):
        stack.state.push_unsaved(run(stack), None)
    assert unsaved.exists()

    s3 = client(stack.target, "s3", REGION)
    content = s3.get_object(Bucket=name, Key=KEY)["Body"].read()
    for item in s3.list_objects_v2(Bucket=name)["Contents"]:
        s3.delete_object(Bucket=name, Key=item["Key"])
    s3.delete_bucket(Bucket=name)
    with pytest.raises(RemoteError):
        stack.state.push_unsaved(run(stack), None)
    assert unsaved.exists(), "the bucket may come back"

    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=name, Key=KEY, Body=content)
    left = stack.folder.mark_running("rayform stack deploy")
    with stack.folder.locked("rayform stack refresh"):
        lock(stack.target, name, whoami(), now())
        stack.state.push_unsaved(run(stack), left)
    assert run(stack).pull_state()["serial"] > state["serial"]
    assert not unsaved.exists()

    for _ in range(2):
        unsaved.write_text(json.dumps(state | {"lineage": str(uuid.uuid4())}))
        stack.state.push_unsaved(run(stack), None)
    set_aside = sorted(path.name for path in stack.folder.work.glob("errored*"))
    assert set_aside == ["errored.tfstate.refused", "errored.tfstate.refused2"]


def test_nothing_is_swept_while_another_machine_works(stack_home, target, bucket, leaner):
    """Resources that another machine's deploy has made and not saved yet are not orphans: the command is refused."""
    name = bucket()
    path = leaner("busy", f"state: {{backend: s3, bucket: {name}}}\n")
    loaded = load_definition(path)
    stack = Lifecycle("busy", target)
    record = stack.folder.begin(REGION, target.name)
    record.status = "deploying"
    stack.folder.save(record)
    stack.folder.definition_file.write_text(loaded.text)
    ec2 = client(target, "ec2", REGION)
    tags = [{"Key": "rayform:stack", "Value": record.reference}]
    volume = ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )["VolumeId"]
    key = f"rayform/{record.reference}.tfstate"
    lock(target, name, "ann@laptop", now(), key)
    for command in (
        lambda: stack.plan(loaded),
        lambda: stack.destroy(lambda summary: True, delete_data=True),
    ):
        with pytest.raises(StateLockedError, match="ann@laptop"):
            command()
        assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"]

    # Nor is anything removed before a person agreed; what goes is said first.
    stack.unlock(stack.lock_holder())
    told = []
    assert stack.destroy(lambda summary: told.extend(summary.warnings) or False) is None
    assert any(volume in warning for warning in told)
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert stack.destroy(lambda summary: True) == []
    assert ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"] == []
