"""The data of a stack that is to be destroyed: what there is, what of it is kept, and the end of the rest."""

from __future__ import annotations

import contextlib

from rayform_core.errors import ConflictError, RemoteError
from rayform_provisioner.aws.data import (
    begin_end_of_database,
    bucket_holding,
    registry_holding,
    snapshot_database,
)
from rayform_provisioner.aws.sweep import empty_bucket, empty_repository, end_instances
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.reporting import Reporter
from rayform_provisioner.stack_folder import StackRecord
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.render import bucket_name, repository_name

__all__ = ["holdings_of", "kept_components", "kept_names", "take_data"]


def holdings_of(target: Target, record: StackRecord, definition: StackDefinition) -> dict[str, str]:
    """Return what data the stack holds, component (`bucket`, `registry`, `catalog`) to words; empty for none."""
    found = {
        "bucket": bucket_holding(target, record.region, bucket_name(definition, record.reference)).content,
        "registry": registry_holding(
            target, record.region, repository_name(definition, record.reference)
        ).content,
    }
    # The database answers inside its network alone. Whatever wrote runs into it wrote artifacts and logs too.
    if definition.catalog.existing is None and found["bucket"] and record.outputs.get("catalog_identifier"):
        found["catalog"] = "the runs and models that belong to the bucket's artifacts"
    return {component: content for component, content in found.items() if content}


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
        record: the stack's.
        definition: the stack's, which may say what a destroy does with data.
        holdings: what there is, from `holdings_of`.
        delete_data, keep_data: what the command was told, which goes before the definition.

    Raises:
        ConflictError: there is data, and neither the command nor the definition says what becomes of it.
    """
    wish = definition.artifact_store.on_destroy
    if not holdings or delete_data:
        return []
    if keep_data or wish == "keep":
        return sorted(holdings)
    if wish == "delete":
        return []
    raise ConflictError(
        f"Stack '{record.name}' holds data.",
        why="; ".join(f"{component}: {content}" for component, content in holdings.items()) + ".",
        hint="Nothing was touched. Add --delete-data to delete it, or --keep-data to keep it.",
    )


def kept_names(record: StackRecord, definition: StackDefinition, keep: list[str]) -> list[str]:
    """Return the cloud's names of what this destroy and earlier ones kept; a catalog is kept as a snapshot."""
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
    """Stop what writes, then save or delete data; only then may Terraform begin.

    Idempotent. Blocks until the instances are gone and a snapshot can be restored; the database ends meanwhile.

    Args:
        target: the cloud.
        record: the stack's.
        definition: the stack's.
        holdings: what there is, from `holdings_of`.
        keep: what of it is kept, from `kept_components`.
        reporter: told what goes on.
    """
    region, reference = record.region, record.reference
    identifier = f"{reference}-catalog"
    reporter.phase("Stopping the cluster")
    if "catalog" not in keep:
        _begin_end_of_own_database(target, region, identifier, definition)
    end_instances(target, region, reference)
    if "catalog" in keep:
        reporter.phase("Taking a snapshot of the catalog")
        snapshot_database(target, region, identifier, f"{identifier}-final")
        _begin_end_of_own_database(target, region, identifier, definition)
    if "bucket" in holdings and "bucket" not in keep:
        reporter.phase("Deleting artifacts")
        empty_bucket(target, region, bucket_name(definition, reference))
    elif "bucket" not in keep:
        # Logs and traces below system/ are no data of a person, and keep a bucket from being removed.
        with contextlib.suppress(RemoteError):
            empty_bucket(target, region, bucket_name(definition, reference))
    if "registry" in holdings and "registry" not in keep:
        empty_repository(target, region, repository_name(definition, reference))


def _begin_end_of_own_database(
    target: Target, region: str, identifier: str, definition: StackDefinition
) -> None:
    if definition.catalog.existing is not None:
        return
    if definition.catalog.deletion_protection:
        rds = target.client("rds", region)
        with contextlib.suppress(rds.exceptions.DBInstanceNotFoundFault):
            rds.modify_db_instance(
                DBInstanceIdentifier=identifier, DeletionProtection=False, ApplyImmediately=True
            )
    begin_end_of_database(target, region, identifier)
