"""What can be said of a definition without a cloud: how it differs from what was applied, which data that risks."""

from __future__ import annotations

from typing import Any

from rayform_provisioner.definitions.definition import StackDefinition, load_definition
from rayform_provisioner.stack_folder import StackFolder

__all__ = ["compare"]

# Keys whose change makes AWS replace something that holds data.
_REPLACING = {
    "artifact_store.adopt": "the bucket would be another one; artifacts stay in the old one",
    "container_registry.adopt": "the repository would be another one; step images stay in the old one",
    "container_registry.kms_key_arn": "the repository would be made anew; its images would be lost",
    "catalog.kms_key_arn": "the database would be made anew; runs and models would be lost",
    "catalog.restore_snapshot": "the database would be made anew; runs and models would be lost",
    "catalog.existing": "the stack's own database would be removed or made anew",
    "network.cidr": "the network, and the database in it, would be made anew; runs and models would be lost",
    "network.existing": "the database would be made anew in another network; runs and models would be lost",
}
_EXPIRING = {"artifact_store.expire_days": "artifacts older than that would be deleted"}


def compare(folder: StackFolder, definition: StackDefinition) -> tuple[list[str], list[str]]:
    """Return the differences from the definition that was applied last, and the data they put at risk."""
    if not folder.definition_file.exists():
        return [], []
    before = _flat(load_definition(folder.definition_file).definition.model_dump())
    after = _flat(definition.model_dump())
    differences, risks = [], []
    for key in sorted({*before, *after}):
        if before.get(key) == after.get(key):
            continue
        differences.append(f"{key}: {before.get(key)!r} → {after.get(key)!r}")
        for prefix, consequence in _REPLACING.items():
            if key == prefix or key.startswith(f"{prefix}."):
                risks.append(f"{key}: {consequence}")
        if key in _EXPIRING and after.get(key) is not None:
            risks.append(f"{key}: {_EXPIRING[key]}")
    return differences, risks


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= _flat(item, f"{path}.{key}" if path else str(key))
        return found
    return {path: value}
