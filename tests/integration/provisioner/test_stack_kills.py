"""`kill -9` of deploys and destroys at random moments: the next command converges, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from rayform_core.errors import ConflictError
from rayform_provisioner.aws.adopt import state_index
from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.inventory import inventory
from rayform_provisioner.definitions.definition import load_definition
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.targets import resolve_target
from rayform_provisioner.terraform.render import render_state_target
from rayform_provisioner.terraform.runner import UNSAVED_FILE, Terraform
from rayform_provisioner.terraform.settings import TerraformSettings

pytestmark = [
    pytest.mark.terraform, pytest.mark.moto, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(1500),
]  # fmt: skip

TESTS = Path(__file__).resolve().parents[2]
POINTS = int(os.environ.get("RAYFORM_KILL_POINTS", "6"))
"""Six in the suite, to keep it short; `benchmarks/bench_stack.py` kills at twenty."""
EVENTS = {"deploy": 110, "destroy": 60}


def start(operation, definition, endpoints):
    """Start a driver process."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.stack_driver", operation, str(definition), str(endpoints)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_after(process, lines, *, terraform_too):
    """Read `lines` lines of the driver's output, kill it with SIGKILL, and say whether it still ran."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if len(seen) >= lines:
            break
    running = process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True) if running else []
    process.kill()
    if terraform_too:
        for child in children:
            try:
                child.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(children, timeout=10)
    process.stdout.close()
    process.wait()
    return running and not any(line.startswith("result") for line in seen), seen


@pytest.mark.parametrize("seed", [20])
def test_killed_at_random_moments(stack_home, endpoints, lean, seed):
    """Deploys and destroys that are killed are continued by the next; in the end the cloud lists nothing."""
    chance = random.Random(seed)
    target = resolve_target(str(endpoints))
    path = lean("killed")
    loaded = load_definition(path)
    stack = Lifecycle("killed", target)
    kills = 0
    for operation, points in (("deploy", (POINTS + 1) // 2), ("destroy", POINTS // 2)):
        for _ in range(points):
            process = start(operation, path, endpoints)
            lines = chance.randint(1, EVENTS[operation])
            killed, seen = kill_after(process, lines, terraform_too=chance.random() < 0.5)
            kills += killed
            assert not [line for line in seen if line.startswith("Traceback")], seen
        if operation == "deploy":
            reference = stack.folder.existing().reference
            outputs = stack.deploy(loaded, lambda summary: True)
            assert outputs["reference"] == reference
            terraform = Terraform(stack.folder.work, TerraformSettings(), target.environment())
            _, ids = state_index(terraform.pull_state())
            known = list_of(target, reference)
            unknown = [item for item in known if item.id not in ids]
            assert unknown == [], "what the cloud lists is what the state knows"
            assert sum(item.kind == "aws_vpc" for item in known) == 1
            assert not stack.drift().changes
    if stack.folder.record() is not None:
        assert stack.destroy(lambda summary: True, delete_data=True) == []
    assert kills >= POINTS // 2
    assert list_of(target, reference) == []
    assert not [
        p
        for p in psutil.process_iter(["cmdline"])
        if str(stack.folder.work) in " ".join(p.info["cmdline"] or [])
    ]


def test_second_command_is_refused_with_the_holders_name(stack_home, endpoints, leaner):
    """While a deploy runs, another is refused, and its error says who has been running what since when."""
    path = leaner("busy")
    process = start("deploy", path, endpoints)
    try:
        for line in process.stdout:
            if line.startswith("phase Checking"):
                break
        with pytest.raises(ConflictError, match=rf"process {process.pid}\b"):
            Lifecycle("busy", resolve_target(str(endpoints))).plan(load_definition(path))
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    # The lock died with its holder.
    Lifecycle("busy", resolve_target(str(endpoints))).plan(load_definition(path))


STATE_BUCKET = "team-terraform"
IN_A_BUCKET = f"state: {{backend: s3, bucket: {STATE_BUCKET}}}\n"


def test_killed_with_the_state_in_a_bucket(stack_home, endpoints, leaner):
    """The next deploy continues a killed one and removes its lock; another machine's lock is refused by name."""
    target = resolve_target(str(endpoints))
    s3 = client(target, "s3", "eu-central-1")
    s3.create_bucket(Bucket=STATE_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    path = leaner("shared", IN_A_BUCKET)
    loaded = load_definition(path)
    stack = Lifecycle("shared", target)
    notes = []
    stack.reporter.note = notes.append

    def objects():
        return {item["Key"] for item in s3.list_objects_v2(Bucket=STATE_BUCKET).get("Contents", [])}

    chance = random.Random(7)
    locked = 0
    # In the plan, which holds the lock once it tells of a resource, and in the midst of the apply.
    for lines in (3, chance.randint(40, 75)):
        process = start("deploy", path, endpoints)
        killed, seen = kill_after(process, lines, terraform_too=True)
        assert killed, seen
        locked += stack.lock_holder() is not None
    assert locked == 2
    reference = stack.folder.existing().reference
    key = f"rayform/{reference}.tfstate"
    stack.deploy(loaded, lambda summary: True)
    assert any("Taking away the lock" in note for note in notes)
    assert objects() == {key}

    # Another machine's lock: refused by name, and taken away when a person says so.
    lock = {
        "ID": str(uuid.uuid4()),
        "Operation": "OperationTypeApply",
        "Who": "ann@laptop",
        "Version": "1.11.4",
    }
    lock |= {"Info": "", "Created": "2026-01-02T03:04:05.678Z", "Path": f"{STATE_BUCKET}/{key}"}
    s3.put_object(Bucket=STATE_BUCKET, Key=f"{key}.tflock", Body=json.dumps(lock))
    with pytest.raises(ConflictError, match=r"(?s)ann@laptop.*rayform stack unlock shared"):
        stack.plan(loaded)
    holder = stack.lock_holder()
    assert (holder.who, holder.id) == ("ann@laptop", lock["ID"])
    stack.unlock(holder)
    assert stack.lock_holder() is None

    # A state that Terraform could not save lies in the folder; the next command saves it.
    terraform = Terraform(stack.folder.work, TerraformSettings(), target.environment())
    state = terraform.pull_state()
    unsaved = stack.folder.work / UNSAVED_FILE
    unsaved.write_text(json.dumps(state | {"serial": state["serial"] + 1}))
    stack.refresh()
    assert not unsaved.exists()
    unsaved.write_text(json.dumps(terraform.pull_state() | {"serial": state["serial"] + 9}))

    # Terraform alone is killed, as the kernel does where memory is short: the command says so and can be run again.
    process = start("destroy", path, endpoints)
    for line in process.stdout:
        if line.startswith("event start delete"):
            break
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    said, _ = process.communicate(timeout=60)
    assert "terraform apply failed" in said
    assert stack.lock_holder() is not None
    assert not unsaved.exists()
    assert stack.destroy(lambda summary: True, delete_data=True) == []
    assert list_of(target, reference) == []
    assert objects() == set(), "neither the state nor a lock stays"


def test_state_moves_when_the_definition_says_so(stack_home, endpoints, tmp_path):
    """Terraform's state is carried from the folder to a bucket and back, and nothing is forgotten on the way."""
    target = resolve_target(str(endpoints))
    s3 = client(target, "s3", "eu-central-1")
    s3.create_bucket(Bucket="moved-to", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    bucket = {
        "bucket": "moved-to",
        "key": "rayform/x.tfstate",
        "region": "eu-central-1",
        "use_lockfile": True,
    }
    terraform = Terraform(tmp_path, TerraformSettings(), target.environment())

    def root(backend):
        if "s3" in backend:
            backend = render_state_target(backend, target)
        document = {
            "terraform": {"backend": backend},
            "resource": {"terraform_data": {"kept": {"input": "here"}}},
        }
        (tmp_path / "main.tf.json").write_text(json.dumps(document))
        terraform.prepare(json.dumps(backend))
        terraform.plan_to(tmp_path / "plan")
        terraform.apply_plan(tmp_path / "plan")
        return terraform.pull_state()

    made = root({"local": {"path": "terraform.tfstate"}})["resources"]
    assert len(made) == 1
    assert root({"s3": bucket})["resources"] == made
    assert root({"local": {"path": "terraform.tfstate"}})["resources"] == made


def list_of(target, reference):
    """What the cloud lists of a stack."""
    return inventory(
        target, "eu-central-1", reference, bucket=f"rayform-{reference}", repository=f"rayform/{reference}"
    )
