"""What machines know of their stack, and the autoscaler's settings that follow from it."""

import json

import pytest

from rayform_core.errors import IntegrityError, PrerequisiteError
from rayform_runtime.cluster.machine.autoscaler_config import autoscaler_config
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.components import StackSpec
from rayform_runtime.execution.on_ray.head_job import stack_on_machines

SETTINGS = {
    "name": "prod",
    "reference": "rf-prod",
    "region": "eu-west-1",
    "bucket": "b",
    "ray_version": "2.60.0",
    "python_version": "3.11",
    "ray_token_secret": "s",
    "endpoints": {"s3": "http://10.0.0.1:4566", "secretsmanager": "http://10.0.0.1:4566"},
    "tags": {"owner": "me"},
    "worker_groups": {
        "gpu": {
            "launch_template": "rf-prod-gpu", "instance_type": "g4dn.xlarge", "subnet_ids": ["subnet-1"],
            "min": 0, "max": 3, "cpus": 4, "memory_mb": 16384, "gpus": 1, "accelerator_type": "T4",
            "idle_timeout_minutes": 3, "something_new": True,
        },
        "cpu": {"launch_template": "rf-prod-cpu", "max": 2, "cpus": 8, "idle_timeout_minutes": 10},
    },
}  # fmt: skip


def settings():
    return MachineSettings.model_validate(SETTINGS)


def test_a_group_becomes_a_node_type_with_its_launch_template():
    """Limits, resources, template, subnets and the stack's tags are what Ray starts nodes with."""
    made = autoscaler_config(settings())
    gpu = made["available_node_types"]["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"], made["max_workers"]) == (0, 3, 5)
    assert gpu["resources"] == {
        "CPU": 4,
        "GPU": 1,
        "memory": int(16384 * 2**20 * 0.6),
        "accelerator_type:T4": 1,
    }
    assert gpu["node_config"]["LaunchTemplate"]["LaunchTemplateName"] == "rf-prod-gpu"
    assert gpu["node_config"]["SubnetIds"] == ["subnet-1"]
    tags = {t["Key"]: t["Value"] for t in gpu["node_config"]["TagSpecifications"][0]["Tags"]}
    assert tags == {"owner": "me", "rayform:stack": "rf-prod", "rayform:group": "gpu"}
    assert made["idle_timeout_minutes"] == 3
    assert made["provider"]["disable_node_updaters"] is True


def test_ray_takes_the_settings_for_valid():
    """Ray's own schema accepts them."""
    pytest.importorskip("ray")
    from ray.autoscaler._private.util import validate_config

    validate_config(autoscaler_config(settings()))


def test_a_machine_without_settings_says_so(tmp_path, monkeypatch):
    """A missing file is a prerequisite, a broken one an integrity error."""
    path = tmp_path / "stack.json"
    monkeypatch.setenv("RAYFORM_STACK_SETTINGS", str(path))
    assert MachineSettings.read_if_present() is None
    with pytest.raises(PrerequisiteError, match="doesn't belong to a Rayform cluster"):
        MachineSettings.read()
    path.write_text("{")
    with pytest.raises(IntegrityError, match="doesn't hold valid settings"):
        MachineSettings.read()
    path.write_text(json.dumps(SETTINGS))
    assert MachineSettings.read().name == "prod"


def test_machines_reach_the_stack_without_tunnel_and_keys():
    """On the machines the catalog has no tunnel, and each endpoint is the machines' own."""
    spec = StackSpec.model_validate(
        {
            "name": "prod",
            "components": {
                "orchestrator": {
                    "name": "o", "kind": "orchestrator", "flavor": "ray",
                    "config": {"address": "ssh://ubuntu@h", "ssh_key": "/k"},
                },
                "artifact-store": {
                    "name": "a", "kind": "artifact-store", "flavor": "s3",
                    "config": {"bucket": "bucket", "endpoint_url": "http://127.0.0.1:1"},
                },
                "catalog": {
                    "name": "c", "kind": "catalog", "flavor": "postgres",
                    "config": {"host": "db", "tunnel": "ssh://ubuntu@h", "ssh_key": "/k", "password_secret": "arn"},
                },
            },
        }
    )  # fmt: skip
    there = stack_on_machines(spec, settings())
    configs = {kind.value: c.config for kind, c in there.components.items()}
    assert configs["catalog"] == {
        "host": "db",
        "password_secret": "arn",
        "region": "eu-west-1",
        "endpoint_url": "http://10.0.0.1:4566",
    }
    assert configs["artifact-store"]["endpoint_url"] == "http://10.0.0.1:4566"
    assert "ssh_key" not in configs["orchestrator"]
    assert spec.components["catalog"].config["tunnel"] == "ssh://ubuntu@h"
