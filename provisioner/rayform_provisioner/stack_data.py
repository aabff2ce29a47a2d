"""The data of a stack that is to be destroyed: what there is, what is kept, and how the rest is deleted."""

from __future__ import annotations

import contextlib

from rayform_core.errors import ConflictError, RemoteError
from rayform_provisioner.clouds import cloud_of
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.reporting import Reporter
from rayform_provisioner.stack_folder import StackRecord
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.render import bucket_name, repository_name

__all__ = ["holdings_of", "kept_components", "kept_names", "take_data"]


def holdings_of(target: Target, record: StackRecord, definition: StackDefinition) -> dict[str, str]:
    """Return component (`bucket`, `registry`, `catalog`) to its data in words; leave out components without data."""
    cloud = cloud_of(definition.provider)
    bucket = bucket_name(definition, record.reference)
    repository = repository_name(definition, record.reference)
    holdings = {
        "bucket": cloud.bucket_holding(target, record.region, bucket),
        "registry": cloud.registry_holding(target, record.region, repository),
    }
    # The database can only be asked from inside its network. But a run in it also has artifacts and logs.
    own_catalog = definition.catalog.existing is None and record.outputs.get("catalog_identifier")
    if own_catalog and holdings["bucket"]:
        holdings["catalog"] = "the runs and models that belong to the bucket's artifacts"
    return {component: content for component, content in holdings.items() if content}


def kept_components(
    record: StackRecord,
    definition: StackDefinition,
    holdings: dict[str, str],
    *,
    delete_data: bool,
    keep_data: bool,
) -> list[str]:
    """Return the components whose data a destroy keeps.

    Args:
        record: the stack's record.
        definition: the stack's definition, which may say what a destroy does with data.
        holdings: the data, from `holdings_of`.
        delete_data, keep_data: the command's flags, which go before the definition.

    Raises:
        ConflictError: there is data, and neither the command nor the definition says what to do with it.
    """
    policy = definition.artifact_store.on_destroy
    if not holdings or delete_data:
        return []
    if keep_data or policy == "keep":
        return sorted(holdings)
    if policy == "delete":
        return []
    raise ConflictError(
        f"Stack '{record.name}' holds data.",
        why="; ".join(f"{component}: {content}" for component, content in holdings.items()) + ".",
        hint="Nothing was touched. Add --delete-data to delete it, or --keep-data to keep it.",
    )


def kept_names(record: StackRecord, definition: StackDefinition, keep: list[str]) -> list[str]:
    """Return the names, in the cloud, of what this destroy and earlier ones keep; a catalog is kept as a snapshot."""
    names = {
        "bucket": bucket_name(definition, record.reference),
        "registry": repository_name(definition, record.reference),
        "catalog": f"{record.reference}-catalog-final",
    }
    return sorted({*record.kept, *(names[component] for component in keep)})


def take_data(
    target: Target,
    record: StackRecord,
    definition: StackDefinition,
    holdings: dict[str, str],
    keep: list[str],
    reporter: Reporter,
) -> None:
    """Stop everything that writes, then save or delete the data, so that Terraform can destroy the rest.

    Idempotent. Blocks until the instances are gone and a snapshot can be restored, but not until the database is gone.

    Args:
        target: the cloud.
        record: the stack's record.
        definition: the stack's definition.
        holdings: the data, from `holdings_of`.
        keep: the components whose data is kept, from `kept_components`.
        reporter: shows progress.
    """
    cloud = cloud_of(definition.provider)
    region, reference = record.region, record.reference
    bucket, repository = bucket_name(definition, reference), repository_name(definition, reference)
    database = f"{reference}-catalog" if definition.catalog.existing is None else None

    def begin_end_of_database() -> None:
        if database is not None:
            protected = definition.catalog.deletion_protection
            cloud.begin_end_of_database(target, region, database, protected=protected)

    reporter.phase("Stopping the cluster")
    if "catalog" not in keep:
        begin_end_of_database()
    cloud.end_instances(target, region, reference)
    if "catalog" in keep:
        reporter.phase("Taking a snapshot of the catalog")
        cloud.snapshot_database(target, region, f"{reference}-catalog", f"{reference}-catalog-final")
        begin_end_of_database()
    if "bucket" in holdings and "bucket" not in keep:
        reporter.phase("Deleting artifacts")
        cloud.empty_bucket(target, region, bucket)
    elif "bucket" not in keep:
        # Logs and traces below system/ are not user data, but a bucket that holds them can't be removed.
        with contextlib.suppress(RemoteError):
            cloud.empty_bucket(target, region, bucket)
    if "registry" in holdings and "registry" not in keep:
        cloud.empty_repository(target, region, repository)
