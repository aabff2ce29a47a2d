"""Turns a definition into `main.tf.json`: one root module that calls the five modules.

It describes AWS alone; a second cloud brings its own.

The result is a plain dict, the same for the same input, so a change of the definition is a readable change of the
file. A target's endpoints are in a separate file (`target_override.tf.json`), which Terraform merges in, so
`main.tf.json` is the same for production and rehearsal.

Source: Terraform's JSON configuration syntax, where every string is a template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rayform_provisioner.clouds import BucketObject, Resolution
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.targets import SERVICES, Target

__all__ = [
    "adoptions",
    "bucket_name",
    "literal",
    "render",
    "render_keeping",
    "render_state_target",
    "render_target",
    "repository_name",
    "stack_tags",
    "state_object",
    "to_json",
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


def literal(text: str) -> str:
    """Return `text` escaped, so that Terraform never reads it as a template."""
    return text.replace("${", "$${").replace("%{", "%%{")


def _literals(texts: Mapping[str, str]) -> dict[str, str]:
    return {literal(key): literal(text) for key, text in texts.items()}


def stack_tags(definition: StackDefinition, reference: str) -> dict[str, str]:
    """Return the tags that every resource of the stack has."""
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


def render(definition: StackDefinition, resolution: Resolution) -> dict[str, Any]:
    """Return the root module of `definition` as Terraform's JSON syntax.

    Example:
        >>> sorted(render(definition, resolution)["module"])  # doctest: +SKIP
        ['bucket', 'catalog', 'compute', 'network', 'registry']
    """
    tags = stack_tags(definition, resolution.reference)
    modules: dict[str, object] = {
        "network": _network(definition, resolution),
        "bucket": _bucket(definition, resolution),
        "registry": _registry(definition, resolution),
        "compute": _compute(definition, resolution, tags),
    }
    if definition.catalog.existing is None:
        modules["catalog"] = _catalog(definition, resolution)
    root: dict[str, Any] = {
        "terraform": _settings(definition, resolution.reference),
        "provider": _provider(definition, tags),
        # Empty on AWS proper; a target's override file fills it.
        "locals": {"endpoints": {}, "stack": _machine_settings(definition, resolution)},
        "module": modules,
        # Terraform makes a new one at every run and writes only the first: nothing but Secrets Manager stores it.
        "ephemeral": {
            "aws_secretsmanager_random_password": {
                "ray_token": {"password_length": 48, "exclude_punctuation": True}
            }
        },
        "output": _outputs(definition),
    }
    imports = adoptions(definition)
    return root | {"import": imports} if imports else root


def adoptions(definition: StackDefinition) -> list[dict[str, str]]:
    """Return the import blocks of the bucket and the repository that the definition takes over."""
    adopted = {
        "module.bucket.aws_s3_bucket.this": definition.artifact_store.adopt,
        "module.registry.aws_ecr_repository.this": definition.container_registry.adopt,
    }
    return [{"to": address, "id": name} for address, name in adopted.items() if name]


def render_keeping(definition: StackDefinition, reference: str, modules: list[str]) -> dict[str, Any]:
    """Return a root module whose apply destroys everything except `modules`, which Terraform forgets.

    Args:
        definition: the stack's definition.
        reference: its reference.
        modules: `bucket`, `registry`.
    """
    return {
        "terraform": _settings(definition, reference),
        "provider": _provider(definition, stack_tags(definition, reference)),
        "removed": [{"from": f"module.{name}", "lifecycle": {"destroy": False}} for name in modules],
    }


def render_target(target: Target) -> dict[str, dict[str, Any]]:
    """Return path to override file, for a working folder that talks to an emulated cloud; empty for AWS proper.

    The overrides inside modules silence differences that only exist in emulators, so that a plan without a change is
    empty there too, and drift is real drift.
    """
    if not target.emulated:
        return {}

    def ignoring(attributes: list[str], *names: str) -> dict[str, object]:
        return {name: {"lifecycle": {"ignore_changes": attributes}} for name in names}

    rule_description = ignoring(["description"], "cluster_self", "database")
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
            "locals": {"endpoints": _literals(target.node_endpoints)},
            # A bucket that refuses plain HTTP would refuse an emulator that speaks nothing else.
            "module": {"bucket": {"tls_only": target.endpoints.get("s3", "https:").startswith("https:")}},
        },
        # moto reports a template's own tags as those of the machines that it starts, and forgets an instance's
        # security groups when it gets an elastic address. An override replaces the module's own list of ignored
        # changes, hence Ray's tags.
        "modules/aws/compute/target_override.tf.json": {
            "resource": {
                "aws_launch_template": ignoring(["tag_specifications"], "worker"),
                "aws_instance": ignoring(["vpc_security_group_ids", *HEAD_TAGS_OF_RAY], "head"),
            }
        },
        # moto forgets how a parameter is applied.
        "modules/aws/catalog/target_override.tf.json": {
            "resource": {"aws_db_parameter_group": ignoring(["parameter"], "this")}
        },
        # moto forgets the description of a rule between two groups.
        "modules/aws/network/target_override.tf.json": {
            "resource": {
                "aws_vpc_security_group_ingress_rule": rule_description,
                "aws_vpc_security_group_egress_rule": rule_description,
            }
        },
    }


def render_state_target(
    backend: Mapping[str, Mapping[str, object]], target: Target
) -> dict[str, dict[str, object]]:
    """Return `backend`, a root module's S3 backend, with the settings that reach an emulated cloud's S3.

    An override replaces a backend as a whole, so the result has all of its settings.
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


def state_object(definition: StackDefinition, reference: str) -> BucketObject | None:
    """Return the object that holds the stack's state, or `None` if the state is on this machine."""
    state = definition.state
    if state.backend != "s3" or state.bucket is None:
        return None
    return BucketObject(
        state.region or definition.region, state.bucket, f"{state.prefix}/{reference}.tfstate"
    )


def _settings(definition: StackDefinition, reference: str) -> dict[str, object]:
    place = state_object(definition, reference)
    backend: dict[str, object] = {"local": {"path": "terraform.tfstate"}}
    if place is not None:
        backend = {"s3": {**place._asdict(), "encrypt": True, "use_lockfile": True}}
    return {
        "required_version": TERRAFORM_VERSION,
        "required_providers": {"aws": {"source": "hashicorp/aws", "version": PROVIDER_VERSION}},
        "backend": backend,
    }


def _provider(definition: StackDefinition, tags: Mapping[str, str]) -> dict[str, object]:
    return {"aws": {"region": definition.region, "default_tags": {"tags": _literals(tags)}}}


def _without_none(value: dict[str, object]) -> dict[str, object]:
    return {key: item for key, item in value.items() if item is not None}


def _network(definition: StackDefinition, resolution: Resolution) -> dict[str, object]:
    network = definition.network
    ports = set(network.egress_ports)
    if definition.catalog.existing is not None:
        ports.add(definition.catalog.existing.port)
    return {
        "source": "./modules/aws/network",
        "reference": resolution.reference,
        "region": definition.region,
        "network": _without_none(
            {
                "zones": {
                    zone: resolution.zone_slots.get(zone, slot) for slot, zone in enumerate(resolution.zones)
                }
                if network.existing is None
                else None,
                "head_zone": resolution.zones[0] if network.existing is None else None,
                "cidr": network.cidr,
                "allowed_ingress_cidrs": list(network.allowed_ingress_cidrs),
                "private_nodes": network.private_nodes,
                "egress_ports": sorted(ports),
                "existing": network.existing.model_dump(exclude={"private_head"})
                if network.existing
                else None,
            }
        ),
    }


def _bucket(definition: StackDefinition, resolution: Resolution) -> dict[str, object]:
    store = definition.artifact_store
    return {
        "source": "./modules/aws/bucket",
        "bucket": _without_none(
            {
                "name": bucket_name(definition, resolution.reference),
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
            f"system/bootstrap/{resolution.wheel}": {
                "source": f"${{path.root}}/bootstrap/{literal(resolution.wheel)}"
            },
        },
    }


def _registry(definition: StackDefinition, resolution: Resolution) -> dict[str, object]:
    registry = definition.container_registry
    return {
        "source": "./modules/aws/registry",
        "repository": _without_none(
            {
                "name": repository_name(definition, resolution.reference),
                "immutable": registry.immutable,
                "scan_on_push": registry.scan_on_push,
                "keep_images": registry.keep_images,
                "untagged_days": registry.untagged_days,
                "kms_key_arn": registry.kms_key_arn,
            }
        ),
    }


def _catalog(definition: StackDefinition, resolution: Resolution) -> dict[str, object]:
    return {
        "source": "./modules/aws/catalog",
        "reference": resolution.reference,
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


def _compute(definition: StackDefinition, resolution: Resolution, tags: dict[str, str]) -> dict[str, object]:
    compute = definition.compute
    existing, network = definition.catalog.existing, definition.network.existing
    return {
        "source": "./modules/aws/compute",
        "reference": resolution.reference,
        "tags": _literals(tags),
        "ssh_public_key": literal(resolution.ssh_public_key),
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
                "catalog_key_arn": None if existing else definition.catalog.kms_key_arn,
                "disk_key_arn": resolution.disk_key,
            }
        ),
        "catalog_secret_arn": existing.secret_arn if existing else "${module.catalog.secret_arn}",
        "bootstrap": "${module.bucket.bootstrap_etags}",
        "head": {
            "ami": resolution.images["head"],
            "instance_type": compute.head.instance_type,
            "disk_gb": compute.head.disk_gb,
            "public": network is None or not network.private_head,
        },
        "worker_groups": {
            name: {
                "ami": resolution.images[name],
                "instance_type": group.instance_type,
                "disk_gb": group.disk_gb,
                "spot": group.spot,
            }
            for name, group in sorted(compute.workers.items())
        },
    }


def _machine_settings(definition: StackDefinition, resolution: Resolution) -> dict[str, object]:
    """Return what every machine of the cluster reads at boot as /etc/rayform/stack.json."""
    compute = definition.compute
    return {
        "version": 1,
        "name": definition.name,
        "reference": resolution.reference,
        "region": definition.region,
        "bucket": bucket_name(definition, resolution.reference),
        "prefix": "artifacts",
        "ray_version": compute.ray_version,
        "python_version": compute.python_version,
        "ray_token_secret": f"rayform/{resolution.reference}/ray-token",
        "registry": "${module.registry.url}",
        "endpoints": "${local.endpoints}",
        "tags": _literals(stack_tags(definition, resolution.reference)),
        "autostop": compute.autostop.model_dump(),
        "head": {
            "instance_type": compute.head.instance_type,
            "subnet_id": "${module.network.head_subnet_id}",
            **resolution.shapes.get("head", {}),
        },
        "worker_groups": {
            name: {
                "launch_template": f"{resolution.reference}-{name}",
                "instance_profile": f"{resolution.reference}-worker",
                "subnet_ids": "${module.network.node_subnet_ids}",
                "security_group_ids": ["${module.network.cluster_security_group_id}"],
                "instance_type": group.instance_type,
                "image_id": resolution.images[name],
                "min": group.min,
                "max": group.max,
                "spot": group.spot,
                "gpus": group.gpus,
                "idle_timeout_minutes": group.idle_timeout_minutes,
                **resolution.shapes.get(name, {}),
            }
            for name, group in sorted(compute.workers.items())
        },
    }


def _outputs(definition: StackDefinition) -> dict[str, object]:
    existing = definition.catalog.existing
    catalog: dict[str, object] = (
        {**existing.model_dump(), "identifier": None}
        if existing
        else {
            key: f"${{module.catalog.{key}}}"
            for key in ("host", "port", "database", "user", "secret_arn", "identifier")
        }
    )
    values: dict[str, tuple[object, str]] = {
        "bucket": ("${module.bucket.name}", "The stack's bucket."),
        "catalog_database": (catalog["database"], "The catalog's database."),
        "catalog_host": (catalog["host"], "Host of the catalog's server."),
        "catalog_identifier": (
            catalog["identifier"],
            "The catalog's database instance, if it is the stack's own.",
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


def to_json(document: Mapping[str, object]) -> str:
    """Return `document` as text, the same for the same content."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
