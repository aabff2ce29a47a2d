"""Turns a deployed stack's outputs into the plain values that `rayform.stacks.register_deployed` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.host_keys import head_address
from rayform_provisioner.stack_folder import StackFolder
from rayform_provisioner.targets import Target

__all__ = ["REGIONS_WITH_ROOTS", "registration"]

REGIONS_WITH_ROOTS = frozenset({
    "af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
    "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ca-central-1", "eu-central-1",
    "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3",
    "me-central-1", "me-south-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
})  # fmt: skip
"""Regions of RDS whose root certificates come with Rayform (`catalog/rds-ca.pem` of the runtime; a test compares)."""


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
                **_tls(outputs["catalog_host"], region, target),
                "tunnel": address,
                **ssh,
            },
        },
    }


def _tls(host: str, region: str, target: Target) -> dict[str, str]:
    """Return how the catalog's server is verified: by its name and the cloud's CA, if Rayform knows that."""
    if target.database_ca is not None:
        return {"sslmode": "verify-full", "ca_bundle": target.database_ca.read_text()}
    if not target.emulated and host.endswith(".rds.amazonaws.com") and region in REGIONS_WITH_ROOTS:
        return {"sslmode": "verify-full", "ca_bundle": "aws-rds"}
    # A server of the user's own, whose CA only the user knows, or a region that is newer than this version.
    return {"sslmode": "require"}
