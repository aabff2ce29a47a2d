# ruff: noqa: E501  (lines of help and output)
"""The definitions that `rayform stack init` writes: commented, and valid as they are."""

from __future__ import annotations

from rayform_core.errors import NotFoundError

__all__ = ["PRESETS", "preset"]

_HEAD = """\
# A stack definition. `rayform stack validate` checks it, `rayform stack plan` shows what it would make and cost,
# `rayform stack deploy` makes it. docs/stacks.md describes every key.
version: 1
name: {name}
provider: aws
region: {region}
owner: {owner}            # who is responsible for it: a tag on every resource
tags: {{}}                  # more tags, such as team: vision

network:
  # Who may open SSH to the head, the only way into the stack. While it is empty, nobody may: put your own address
  # here, such as 203.0.113.7/32.
  allowed_ingress_cidrs: {allow}
  private_nodes: {private}    # true: workers behind a NAT gateway, which costs by the hour
  # existing: {{vpc_id: vpc-…, head_subnet_id: subnet-…, node_subnet_ids: [subnet-…], database_subnet_ids: [subnet-…, subnet-…]}}

compute:
  ray_version: "2.60.0"
  python_version: "3.11"
  head:
    instance_type: {head}
    disk_gb: 50
"""

_TAIL = """\
  autostop:
    enabled: true
    idle_minutes: 60        # an idle head stops itself; `rayform stack start` wakes it

artifact_store:
  versioning: true
  old_versions_days: 30
  on_destroy: refuse        # or keep, or delete: what `rayform stack destroy` does with data

container_registry:
  immutable: true
  keep_images: 100

catalog:
  instance_class: db.t4g.micro
  storage_gb: 20
  backup_days: 7
  deletion_protection: {protect}

state:
  backend: local            # or s3, with `bucket: NAME`, for a team
"""

_WORKERS = {
    "small": """\
  workers:
    cpu:                    # Ray's autoscaler starts these when steps need more than the head has
      instance_type: m6i.xlarge
      min: 0
      max: 2
      idle_timeout_minutes: 5
""",
    "gpu": """\
  workers:
    cpu:
      instance_type: m6i.2xlarge
      min: 0
      max: 4
    gpu:                    # a step with Resources(gpus=1) starts one; it ends when it is idle
      instance_type: g5.xlarge
      gpus: 1
      min: 0
      max: 2
      disk_gb: 200
      idle_timeout_minutes: 10
""",
    "spot": """\
  workers:
    cpu:                    # spot capacity: half the price or less, taken back with two minutes' notice
      instance_type: m6i.2xlarge
      spot: true
      min: 0
      max: 8
    gpu:
      instance_type: g4dn.xlarge
      spot: true
      gpus: 1
      min: 0
      max: 4
      disk_gb: 200
""",
}

PRESETS = {
    "small": "a head and up to two CPU workers, for one user or a small team",
    "gpu": "CPU workers and GPU workers, from none to as many as steps need",
    "spot": "the same on spot capacity",
}
"""Preset to what is in it."""


def preset(
    name: str,
    *,
    stack: str = "demo",
    region: str = "eu-central-1",
    owner: str = "me",
    allow: tuple[str, ...] = (),
) -> str:
    """Return the text of a preset.

    Args:
        name: `small`, `gpu` or `spot`.
        stack: the stack's name.
        region: its region.
        owner: who is responsible for it.
        allow: IPv4 ranges that may open SSH.

    Raises:
        NotFoundError: there is no such preset.
    """
    if name not in PRESETS:
        raise NotFoundError("preset", name, known=PRESETS)
    values = {
        "name": stack,
        "region": region,
        "owner": owner,
        "allow": f"[{', '.join(allow)}]",
        "private": "false",
        "head": "m6i.large",
        "protect": "false",
    }
    return _HEAD.format(**values) + _WORKERS[name] + _TAIL.format(**values)
