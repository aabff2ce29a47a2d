"""A stack from `init` to an empty cloud by the command line, on a real LocalStack with moto for what it lacks.

Its catalog is a server that is there already: moto's RDS looks for the subnets of LocalStack's EC2 in vain, and the
provider waits minutes for a database. A stack with its own is deployed by `benchmarks/bench_stack.py` and by the
emulated cloud's own tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.servers.localstack import localstack_server

from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.inventory import inventory
from rayform_provisioner.targets import resolve_target

pytestmark = [
    pytest.mark.terraform, pytest.mark.moto, pytest.mark.localstack, pytest.mark.slow, pytest.mark.timeout(1200),
]  # fmt: skip

SERVED = ("ec2", "iam", "s3", "secretsmanager", "ssm", "sts")
REGION = "eu-central-1"
CATALOG = """\
catalog:
  existing:
    host: catalog.example.com
    secret_arn: arn:aws:secretsmanager:eu-central-1:123456789012:secret:shared-catalog-AbCdEf
"""


@pytest.fixture
def both(moto_url, tmp_path):
    """An endpoints file: LocalStack where its open edition serves, moto for the rest."""
    with localstack_server(tmp_path / "localstack", services=",".join(SERVED)) as url:
        others = ("autoscaling", "ecr", "kms", "rds", "resourcegroupstaggingapi", "servicequotas")
        path = tmp_path / "endpoints.json"
        path.write_text(
            json.dumps({"services": dict.fromkeys(SERVED, url) | dict.fromkeys(others, moto_url)})
        )
        yield path


def rayform(folder, *arguments, code=0):
    """Run the command line in `folder` and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "rayform.cli", *arguments],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_init_to_an_empty_cloud_by_the_command_line(stack_home, both, tmp_path):
    """init, plan, deploy, a change by hand that `status` shows, destroy, and a cloud that lists nothing."""
    target = resolve_target(str(both))
    folder = tmp_path / "project"
    folder.mkdir()
    rayform(folder, "stack", "init", "--name", "whole", "--preset", "spot", "--allow", "203.0.113.7/32")
    path = folder / "stack.yaml"
    text = path.read_text()
    begin, end = text.index("catalog:"), text.index("state:")
    path.write_text(text[:begin] + CATALOG + text[end:])
    assert "an hour" in rayform(folder, "stack", "plan", "--offline")
    said = rayform(folder, "stack", "deploy", "--yes", "--no-wait", "--target", str(both))
    assert "is deployed" in said
    outputs = json.loads(rayform(folder, "stack", "outputs", "--json"))
    described = json.loads(rayform(folder, "stack", "describe", "whole", "--json"))
    assert outputs["reference"] in json.dumps(described)

    s3 = client(target, "s3", REGION)
    s3.put_public_access_block(
        Bucket=outputs["bucket"],
        PublicAccessBlockConfiguration=dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False
        ),
    )
    status = json.loads(rayform(folder, "stack", "status", "--json"))
    assert {item["state"] for item in status["components"]} == {"healthy"}
    assert "isn't pinned" in status["cluster"]["unreachable"]  # Instances of this emulator never boot.
    assert [item["address"] for item in status["drift"]] == [
        "module.bucket.aws_s3_bucket_public_access_block.this"
    ]

    assert "Type the" not in rayform(folder, "stack", "destroy", "--target", str(both), code=2)
    assert "Destroyed stack" in rayform(folder, "stack", "destroy", "--yes", "--target", str(both))
    left = inventory(
        target, REGION, outputs["reference"], bucket=outputs["bucket"], repository=outputs["registry_name"]
    )
    assert left == []
    assert "whole" not in rayform(folder, "stack", "list")
    entries = json.loads(rayform(folder, "stack", "history", "--json"))
    assert [(entry["operation"], entry["result"]) for entry in entries] == [
        ("deploy", "done"),
        ("destroy", "done"),
    ]
