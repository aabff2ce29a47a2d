"""Compares a definition with the one that was applied last, without a cloud: the differences, and the data at risk."""

from __future__ import annotations

from rayform_provisioner.definitions.definition import StackDefinition, load_definition
from rayform_provisioner.stack_folder import StackFolder

__all__ = ["compare"]

_REPLACING = {
    "artifact_store.adopt": "the stack would use another bucket; artifacts stay in the old one",
    "container_registry.adopt": "the stack would use another repository; step images stay in the old one",
    "container_registry.kms_key_arn": "the repository would be replaced; its images would be lost",
    "catalog.kms_key_arn": "the database would be replaced; runs and models would be lost",
    "catalog.restore_snapshot": "the database would be replaced; runs and models would be lost",
    "catalog.existing": "the stack's own database would be removed or replaced",
    "network.cidr": "the network, and the database in it, would be replaced; runs and models would be lost",
    "network.existing": "the database would be replaced by one in another network; runs and models would be lost",
}
"""Keys whose change makes AWS replace something that holds data, and what that means."""

_EXPIRING = {"artifact_store.expire_days": "artifacts older than that would be deleted"}


def compare(folder: StackFolder, definition: StackDefinition) -> tuple[list[str], list[str]]:
    """Return the differences from the definition that was applied last, and the data that they put at risk."""
    if not folder.definition_file.exists():
        return [], []
    before = _flat(load_definition(folder.definition_file, applied=True).definition.model_dump())
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


def _flat(value: object, path: str = "") -> dict[str, object]:
    """Return dotted path to value, for every value inside `value` that is not a group of keys."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    flat: dict[str, object] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{path}.{key}" if path else str(key))
    return flat
