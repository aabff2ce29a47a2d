"""The functions by which AWS implements `rayform_provisioner.clouds.Cloud`.

Each is imported from its own module when it is first used, so that `rayform stack plan --offline`, which only needs
an estimate, doesn't import the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayform_provisioner.aws.account import prepare_account
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

_HOMES = {
    "begin_end_of_database": "data",
    "bucket_holding": "data",
    "empty_bucket": "data",
    "empty_repository": "data",
    "end_instances": "sweep",
    "estimate": "costs",
    "health": "health",
    "import_address": "adopt",
    "inventory": "inventory",
    "last_resolution": "checks",
    "pinned_images": "checks",
    "prepare_account": "account",
    "read_lock": "state",
    "read_object": "state",
    "registration": "registration",
    "registry_holding": "data",
    "remove_lock": "state",
    "remove_state": "state",
    "resolve": "checks",
    "snapshot_database": "data",
    "state_index": "adopt",
    "state_written": "state",
    "sweep": "sweep",
    "untagged": "inventory",
    "wait_for_import": "adopt",
}
"""Function to the module of this package that has it."""

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
    "prepare_account",
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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"rayform_provisioner.aws.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
