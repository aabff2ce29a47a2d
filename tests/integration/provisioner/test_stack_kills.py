"""`kill -9` of deploys and destroys at random moments: the next command converges, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rayform_core.errors import ConflictError
from rayform_provisioner.aws.adopt import state_index
from rayform_provisioner.aws.inventory import inventory
from rayform_provisioner.definition import load_definition
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.targets import resolve_target
from rayform_provisioner.terraform import Terraform
from rayform_provisioner.terraform_settings import TerraformSettings

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


def test_second_command_is_refused_with_the_holders_name(stack_home, endpoints, lean):
    """While a deploy runs, another is refused and told who runs what since when."""
    path = lean("busy")
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


def list_of(target, reference):
    """What the cloud lists of a stack."""
    return inventory(
        target, "eu-central-1", reference, bucket=f"rayform-{reference}", repository=f"rayform/{reference}"
    )
