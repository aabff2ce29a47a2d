"""Definition in, `main.tf.json` out: one root module that calls the five modules.

The result is a plain dict, the same for the same input, so that a change of the definition is a readable
change of the file. A target's endpoints stand in a file of their own (`target_override.tf.json`), which
Terraform merges in: `main.tf.json` is the same for production and rehearsal.

Source: Terraform's JSON configuration syntax, where every string is a template.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.targets import SERVICES, Target

__all__ = [
    "Resolved",
    "literal",
    "render",
    "render_keeping",
    "render_state_target",
    "render_target",
    "stack_tags",
    "state_object",
]

PROVIDER_VERSION = ">= 5.100, < 6.0"
TERRAFORM_VERSION = ">= 1.11"
SSH_USER = "ubuntu"
HEAD_TAGS_OF_RAY = tuple(
    f'tags["{tag}"]'
    for tag in (
        "ray-node-name",
        "ray-node-status",
        "ray-launch-config",
        "ray-user-node-type",
        "rayform:status",
    )
)
SETTINGS_KEY = "system/bootstrap/stack.json"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a definition leaves open and a stack settles once, at its first deploy.

    Args:
        reference: unique stack reference.
        ssh_public_key: opens SSH on the head.
        zones: availability zones.
        amis: `head` and each worker group to an AMI's ID.
        wheel: file name of Rayform's wheel in the working folder's `bootstrap/`.
        shapes: `head` and each worker group to what its instance type has (`cpus`, `memory_mb`, `gpus`,
            `accelerator_type`), which the autoscaler plans with.
    """

    reference: str
    ssh_public_key: str
    zones: tuple[str, ...]
    amis: dict[str, str]
    wheel: str
    shapes: dict[str, dict[str, Any]] = field(default_factory=dict)


def literal(value: Any) -> Any:
    """Return `value` such that Terraform reads its text as it is, and never as a template."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, dict):
        return {literal(key): literal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [literal(item) for item in value]
    return value


def stack_tags(definition: StackDefinition, reference: str) -> dict[str, str]:
    """Return the tags that every resource of the stack bears."""
    return {
        **definition.tags,
        "rayform:stack": reference,
        "rayform:name": definition.name,
        "rayform:owner": definition.owner,
    }


def bucket_name(definition: StackDefinition, reference: str) -> str:
    """Return the name of the stack's bucket."""
    return definition.artifact_store.adopt or f"rayform-{reference}"


def repository_name(definition: StackDefinition, reference: str) -> str:
    """Return the name of the stack's repository."""
    return definition.container_registry.adopt or f"rayform/{reference}"


def render(definition: StackDefinition, resolved: Resolved) -> dict[str, Any]:
    """Return the root module of `definition` as Terraform's JSON syntax.

    Example:
        >>> sorted(render(definition, resolved)["module"])  # doctest: +SKIP
        ['bucket', 'catalog', 'compute', 'network', 'registry']
    """
    tags = stack_tags(definition, resolved.reference)
    root: dict[str, Any] = {
        "terraform": _settings(definition, resolved.reference),
        "provider": {"aws": {"region": definition.region, "default_tags": {"tags": literal(tags)}}},
        # Empty on AWS proper; a target's override file fills it.
        "locals": {"endpoints": {}, "stack": _machine_settings(definition, resolved)},
        "module": {
            "network": _network(definition, resolved),
            "bucket": _bucket(definition, resolved),
            "registry": _registry(definition, resolved),
            "compute": _compute(definition, resolved, tags),
        },
        # Made anew at every run, and written at the first alone: nothing stores it but Secrets Manager.
        "ephemeral": {
            "aws_secretsmanager_random_password": {
                "ray_token": {"password_length": 48, "exclude_punctuation": True}
            }
        },
        "output": _outputs(definition),
    }
    if definition.catalog.existing is None:
        root["module"]["catalog"] = _catalog(definition, resolved)
    imports = []
    if definition.artifact_store.adopt:
        imports.append({"to": "module.bucket.aws_s3_bucket.this", "id": definition.artifact_store.adopt})
    if definition.container_registry.adopt:
        imports.append(
            {"to": "module.registry.aws_ecr_repository.this", "id": definition.container_registry.adopt}
        )
    if imports:
        root["import"] = imports
    return root


def render_keeping(definition: StackDefinition, reference: str, modules: list[str]) -> dict[str, Any]:
    """Return a root module whose apply destroys all but `modules`, which Terraform forgets.

    Args:
        definition: the stack's definition.
        reference: its reference.
        modules: `bucket`, `registry`.
    """
    return {
        "terraform": _settings(definition, reference),
        "provider": {
            "aws": {
                "region": definition.region,
                "default_tags": {"tags": literal(stack_tags(definition, reference))},
            }
        },
        "removed": [{"from": f"module.{name}", "lifecycle": {"destroy": False}} for name in modules],
    }


def render_target(target: Target) -> dict[str, dict[str, Any]]:
    """Return the override files that point a working folder at an emulated cloud, by path; none for AWS proper.

    Those inside modules silence differences that exist in emulators alone, so that there, too, a plan without
    a change is empty and drift is real drift.
    """
    if not target.emulated:
        return {}

    def ignoring(kind: str, names: list[str], attribute: str) -> dict[str, Any]:
        return {"resource": {kind: {name: {"lifecycle": {"ignore_changes": [attribute]}} for name in names}}}

    rules = {
        "aws_vpc_security_group_ingress_rule": ["cluster_self", "database"],
        "aws_vpc_security_group_egress_rule": ["cluster_self", "database"],
    }
    return {
        "target_override.tf.json": {
            "provider": {
                "aws": {
                    "endpoints": [
                        {name: target.endpoints[name] for name in SERVICES if name in target.endpoints}
                    ],
                    "s3_use_path_style": True,
                    "skip_credentials_validation": True,
                    "skip_metadata_api_check": "true",
                    "skip_region_validation": True,
                }
            },
            "locals": {"endpoints": literal(target.node_endpoints)},
            # A bucket that refuses plain HTTP would refuse an emulator that speaks nothing else.
            "module": {"bucket": {"tls_only": target.endpoints.get("s3", "https:").startswith("https:")}},
        },
        # moto shows a template's own tags as if it gave them to what it starts, and forgets an instance's
        # security groups when it gets an elastic address. An override replaces the module's own list, hence tags.
        "modules/aws/compute/target_override.tf.json": {
            "resource": {
                "aws_launch_template": {"worker": {"lifecycle": {"ignore_changes": ["tag_specifications"]}}},
                "aws_instance": {
                    "head": {"lifecycle": {"ignore_changes": ["vpc_security_group_ids", *HEAD_TAGS_OF_RAY]}}
                },
            }
        },
        # moto forgets how a parameter is applied.
        "modules/aws/catalog/target_override.tf.json": ignoring(
            "aws_db_parameter_group", ["this"], "parameter"
        ),
        # moto forgets the description of a rule between two groups.
        "modules/aws/network/target_override.tf.json": {
            "resource": {
                kind: ignoring(kind, names, "description")["resource"][kind] for kind, names in rules.items()
            }
        },
    }


def render_state_target(backend: dict[str, Any], target: Target) -> dict[str, Any]:
    """Return `backend`, a root module's S3 backend, with what reaches an emulated cloud's S3.

    An override replaces a backend as a whole, so all of it is here.
    """
    return {
        "s3": {
            **backend["s3"],
            "endpoints": {"s3": target.endpoints["s3"]},
            "use_path_style": True,
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "skip_region_validation": True,
            "skip_requesting_account_id": True,
        }
    }


def state_object(definition: StackDefinition, reference: str) -> tuple[str, str, str] | None:
    """Return region, bucket and key of the stack's state, or `None` where it is on this machine."""
    state = definition.state
    if state.backend != "s3" or state.bucket is None:
        return None
    return state.region or definition.region, state.bucket, f"{state.prefix}/{reference}.tfstate"


def _settings(definition: StackDefinition, reference: str) -> dict[str, Any]:
    place = state_object(definition, reference)
    if place is None:
        backend: dict[str, Any] = {"local": {"path": "terraform.tfstate"}}
    else:
        region, bucket, key = place
        backend = {
            "s3": {"bucket": bucket, "key": key, "region": region, "encrypt": True, "use_lockfile": True}
        }
    return {
        "required_version": TERRAFORM_VERSION,
        "required_providers": {"aws": {"source": "hashicorp/aws", "version": PROVIDER_VERSION}},
        "backend": backend,
    }


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def _network(definition: StackDefinition, resolved: Resolved) -> dict[str, Any]:
    network = definition.network
    ports = set(network.egress_ports)
    if definition.catalog.existing is not None:
        ports.add(definition.catalog.existing.port)
    return {
        "source": "./modules/aws/network",
        "reference": resolved.reference,
        "region": definition.region,
        "network": _without_none(
            {
                "zones": list(resolved.zones),
                "cidr": network.cidr,
                "allowed_ingress_cidrs": list(network.allowed_ingress_cidrs),
                "private_nodes": network.private_nodes,
                "egress_ports": sorted(ports),
                "existing": network.existing.model_dump() if network.existing else None,
            }
        ),
    }


def _bucket(definition: StackDefinition, resolved: Resolved) -> dict[str, Any]:
    store = definition.artifact_store
    return {
        "source": "./modules/aws/bucket",
        "bucket": _without_none(
            {
                "name": bucket_name(definition, resolved.reference),
                "versioning": store.versioning,
                "kms_key_arn": store.kms_key_arn,
                "noncurrent_days": store.old_versions_days,
                "abort_incomplete_days": store.incomplete_uploads_days,
                "expire_days": store.expire_days,
                "infrequent_access_days": store.infrequent_access_days,
            }
        ),
        "bootstrap": {
            SETTINGS_KEY: {"content": "${jsonencode(local.stack)}"},
            f"system/bootstrap/{resolved.wheel}": {
                "source": f"${{path.root}}/bootstrap/{literal(resolved.wheel)}"
            },
        },
    }


def _registry(definition: StackDefinition, resolved: Resolved) -> dict[str, Any]:
    registry = definition.container_registry
    return {
        "source": "./modules/aws/registry",
        "repository": _without_none(
            {
                "name": repository_name(definition, resolved.reference),
                "immutable": registry.immutable,
                "scan_on_push": registry.scan_on_push,
                "keep_images": registry.keep_images,
                "untagged_days": registry.untagged_days,
                "kms_key_arn": registry.kms_key_arn,
            }
        ),
    }


def _catalog(definition: StackDefinition, resolved: Resolved) -> dict[str, Any]:
    return {
        "source": "./modules/aws/catalog",
        "reference": resolved.reference,
        "catalog": _without_none(
            {
                "subnet_ids": "${module.network.database_subnet_ids}",
                "security_group_ids": ["${module.network.database_security_group_id}"],
                **definition.catalog.model_dump(exclude={"existing"}),
                "max_storage_gb": definition.catalog.max_storage_gb
                or max(100, definition.catalog.storage_gb),
            }
        ),
    }


def _compute(definition: StackDefinition, resolved: Resolved, tags: dict[str, str]) -> dict[str, Any]:
    compute = definition.compute
    existing = definition.catalog.existing
    return {
        "source": "./modules/aws/compute",
        "reference": resolved.reference,
        "tags": literal(tags),
        "ssh_public_key": literal(resolved.ssh_public_key),
        "ray_token": "${ephemeral.aws_secretsmanager_random_password.ray_token.random_password}",
        "endpoints": "${local.endpoints}",
        "placement": {
            "region": definition.region,
            "head_subnet_id": "${module.network.head_subnet_id}",
            "node_subnet_ids": "${module.network.node_subnet_ids}",
            "cluster_security_group_id": "${module.network.cluster_security_group_id}",
            "head_security_group_id": "${module.network.head_security_group_id}",
        },
        "access": _without_none(
            {
                "bucket_name": "${module.bucket.name}",
                "bucket_arn": "${module.bucket.arn}",
                "repository_arn": "${module.registry.arn}",
                "with_repository": True,
                "with_catalog": True,
                "kms_key_arn": definition.artifact_store.kms_key_arn,
            }
        ),
        "catalog_secret_arn": existing.secret_arn if existing else "${module.catalog.secret_arn}",
        "bootstrap": "${module.bucket.bootstrap_etags}",
        "head": {
            "ami": resolved.amis["head"],
            "instance_type": compute.head.instance_type,
            "disk_gb": compute.head.disk_gb,
        },
        "worker_groups": {
            name: {
                "ami": resolved.amis[name],
                "instance_type": group.instance_type,
                "disk_gb": group.disk_gb,
                "spot": group.spot,
            }
            for name, group in sorted(compute.workers.items())
        },
    }


def _machine_settings(definition: StackDefinition, resolved: Resolved) -> dict[str, Any]:
    """What every machine of the cluster reads at boot as /etc/rayform/stack.json."""
    compute = definition.compute
    return {
        "version": 1,
        "name": definition.name,
        "reference": resolved.reference,
        "region": definition.region,
        "bucket": bucket_name(definition, resolved.reference),
        "prefix": "artifacts",
        "ray_version": compute.ray_version,
        "python_version": compute.python_version,
        "ray_token_secret": f"rayform/{resolved.reference}/ray-token",
        "registry": "${module.registry.url}",
        "endpoints": "${local.endpoints}",
        "tags": literal(stack_tags(definition, resolved.reference)),
        "autostop": compute.autostop.model_dump(),
        "head": {
            "instance_type": compute.head.instance_type,
            "subnet_id": "${module.network.head_subnet_id}",
            **resolved.shapes.get("head", {}),
        },
        "worker_groups": {
            name: {
                "launch_template": f"{resolved.reference}-{name}",
                "instance_profile": f"{resolved.reference}-worker",
                "subnet_ids": "${module.network.node_subnet_ids}",
                "security_group_ids": ["${module.network.cluster_security_group_id}"],
                "instance_type": group.instance_type,
                "image_id": resolved.amis[name],
                "min": group.min,
                "max": group.max,
                "spot": group.spot,
                "gpus": group.gpus,
                "idle_timeout_minutes": group.idle_timeout_minutes,
                **resolved.shapes.get(name, {}),
            }
            for name, group in sorted(compute.workers.items())
        },
    }


def _outputs(definition: StackDefinition) -> dict[str, Any]:
    existing = definition.catalog.existing
    catalog: dict[str, Any] = (
        {**existing.model_dump(), "identifier": None}
        if existing
        else {
            key: f"${{module.catalog.{key}}}"
            for key in ("host", "port", "database", "user", "secret_arn", "identifier")
        }
    )
    values: dict[str, tuple[Any, str]] = {
        "bucket": ("${module.bucket.name}", "The stack's bucket."),
        "catalog_database": (catalog["database"], "The catalog's database."),
        "catalog_host": (catalog["host"], "Host of the catalog's server."),
        "catalog_identifier": (
            catalog["identifier"],
            "The catalog's database instance, where it is the stack's own.",
        ),
        "catalog_port": (catalog["port"], "Port of the catalog's server."),
        "catalog_secret_arn": (catalog["secret_arn"], "Secret with the catalog's password."),
        "catalog_user": (catalog["user"], "User of the catalog."),
        "head_instance_id": ("${module.compute.head_instance_id}", "The head's instance."),
        "head_private_ip": ("${module.compute.head_private_ip}", "The head's address inside the VPC."),
        "head_public_ip": ("${module.compute.head_public_ip}", "The head's lasting public address."),
        "launch_templates": ("${module.compute.launch_templates}", "Worker group to launch template."),
        "ray_token_secret_arn": ("${module.compute.ray_token_secret_arn}", "Secret with the Ray token."),
        "reference": ("${local.stack.reference}", "Unique stack reference."),
        "region": ("${local.stack.region}", "The cloud's region."),
        "registry_name": ("${module.registry.name}", "The repository's name."),
        "registry_url": ("${module.registry.url}", "The repository of step images."),
        "ssh_user": (SSH_USER, "User of SSH on the head."),
        "vpc_id": ("${module.network.vpc_id}", "The VPC."),
    }
    return {
        name: {"value": value, "description": text}
        for name, (value, text) in values.items()
        if value is not None
    }


def to_json(document: dict[str, Any]) -> str:
    """Return `document` as text, the same for the same content."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
