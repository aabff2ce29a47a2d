"""The functions by which AWS implements `rayform_provisioner.clouds.Cloud`, each from the module that explains it."""

from __future__ import annotations

from rayform_provisioner.aws.adopt import import_address, state_index, wait_for_import
from rayform_provisioner.aws.checks import last_resolution, pinned_images, resolve
from rayform_provisioner.aws.costs import estimate
from rayform_provisioner.aws.data import (
    begin_end_of_database,
    bucket_holding,
    empty_bucket,
    empty_repository,
    registry_holding,
    snapshot_database,
)
from rayform_provisioner.aws.health import health
from rayform_provisioner.aws.inventory import inventory, untagged
from rayform_provisioner.aws.registration import registration
from rayform_provisioner.aws.state import read_lock, read_object, remove_lock, remove_state, state_written
from rayform_provisioner.aws.sweep import end_instances, sweep

__all__ = [
    "begin_end_of_database",
    "bucket_holding",
    "empty_bucket",
    "empty_repository",
    "end_instances",
    "estimate",
    "health",
    "import_address",
    "inventory",
    "last_resolution",
    "pinned_images",
    "read_lock",
    "read_object",
    "registration",
    "registry_holding",
    "remove_lock",
    "remove_state",
    "resolve",
    "snapshot_database",
    "state_index",
    "state_written",
    "sweep",
    "untagged",
    "wait_for_import",
]
