"""Turns a deployed stack's outputs into the plain values that `rayform.stacks.register_deployed` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.host_keys import head_address
from rayform_provisioner.stack_folder import StackFolder
from rayform_provisioner.targets import Target

__all__ = ["registration"]


def registration(
    outputs: Mapping[str, Any], definition: StackDefinition, folder: StackFolder, target: Target
) -> dict[str, Any]:
    """Return the four components of a deployed stack; no value is a secret.

    Args:
        outputs: Terraform's outputs.
        definition: what was deployed.
        folder: holds the stack's SSH key.
        target: the cloud, whose endpoints the components of an emulated cloud need.
    """
    region = outputs["region"]
    address = f"ssh://{outputs['ssh_user']}@{head_address(outputs)}"
    ssh = {"ssh_key": str(folder.key_file), "known_hosts": str(folder.known_hosts)}
    return {
        "reference": outputs["reference"],
        "orchestrator": {
            "flavor": "ray",
            "config": {
                "address": address,
                **ssh,
                "region": region,
                "instance_id": outputs["head_instance_id"],
                "stack_reference": outputs["reference"],
                "endpoint_url": target.endpoints.get("ec2"),
                "base_image": target.base_image,
            },
        },
        "artifact_store": {
            "flavor": "s3",
            "config": {
                "bucket": outputs["bucket"],
                "prefix": "artifacts",
                "region": region,
                "endpoint_url": target.endpoints.get("s3"),
                "kms_key_id": definition.artifact_store.kms_key_arn,
            },
        },
        "container_registry": {
            "flavor": "ecr",
            "config": {
                "uri": outputs["registry_url"],
                "region": region,
                "endpoint_url": target.endpoints.get("ecr"),
                "insecure": target.emulated or None,
            },
        },
        "catalog": {
            "flavor": "postgres",
            "config": {
                "host": outputs["catalog_host"],
                "port": int(outputs["catalog_port"]),
                "database": outputs["catalog_database"],
                "user": outputs["catalog_user"],
                "password_secret": outputs.get("catalog_secret_arn"),
                "region": region,
                "endpoint_url": target.endpoints.get("secretsmanager"),
                "sslmode": "prefer" if target.emulated else "require",
                "tunnel": address,
                **ssh,
            },
        },
    }
