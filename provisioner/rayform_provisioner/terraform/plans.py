"""Reads a plan, as Terraform told or saved it: what changes, what of it holds data, what drifted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rayform_provisioner.definitions.costs import CostEstimate
from rayform_provisioner.terraform.runner import Event, Finished

__all__ = ["Change", "PlanSummary", "plain_changes", "planned_changes", "read_changes", "read_drift"]

DATA_HOLDERS = {
    "aws_s3_bucket": "the bucket, with every artifact",
    "aws_ecr_repository": "the repository, with every step image",
    "aws_db_instance": "the catalog, with every run and model",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan does to one resource.

    Args:
        address: the resource.
        kind: its type.
        action: `create`, `update`, `delete`, `replace`, `import` or `forget`.
        fields: attributes that differ, with what they were and what they will be, in short.
        because: attributes that make it a replacement.
    """

    address: str
    kind: str
    action: str
    fields: tuple[str, ...] = ()
    because: tuple[str, ...] = ()

    @property
    def data_at_risk(self) -> str | None:
        """What data it would take away, or `None`."""
        return DATA_HOLDERS.get(self.kind) if self.action in ("delete", "replace") else None


@dataclass(slots=True)
class PlanSummary:
    """A plan that a person may say yes to.

    Args:
        name, reference: the stack.
        changes: what would change.
        cost: what the stack would cost then.
        drift: what was changed behind Terraform's back.
        warnings: what a person should know.
        holdings: data that a destroy would meet, component to words.
        outputs_changed: whether only outputs differ.
    """

    name: str
    reference: str
    changes: list[Change]
    cost: CostEstimate | None = None
    drift: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    holdings: dict[str, str] = field(default_factory=dict)
    outputs_changed: bool = False

    def count(self, *actions: str) -> int:
        """Return how many changes are one of `actions`."""
        return sum(change.action in actions for change in self.changes)

    @property
    def data_at_risk(self) -> list[str]:
        """What data the plan would take away."""
        return [f"{c.address}: {c.data_at_risk}" for c in self.changes if c.data_at_risk]


def plain_changes(done: Finished) -> list[Change] | None:
    """Return the changes from the event stream alone, or `None` where a person would want to see the details.

    Reading a saved plan costs Terraform a second; a plan that only makes things has no details to show.
    """
    if done.code == 0:
        return []
    changes = planned_changes(done.events)
    if any(change.action != "create" for change in changes) or any(
        event.phase == "drift" for event in done.events
    ):
        return None
    return changes


def planned_changes(events: Iterable[Event]) -> list[Change]:
    """Return the changes that Terraform told of while it planned, without details, in the order of their addresses."""
    planned = (event for event in events if event.phase == "planned" and event.action != "read")
    return sorted(
        (Change(e.address, _kind(e.address), e.action) for e in planned), key=lambda change: change.address
    )


def _kind(address: str) -> str:
    for part in address.split("."):
        if part.startswith("aws_"):
            return part
    return ""


def read_changes(plan: dict[str, Any]) -> list[Change]:
    """Return the changes of a plan in Terraform's JSON, in the order of their addresses."""
    return sorted(_changes(plan.get("resource_changes", [])), key=lambda change: change.address)


def read_drift(plan: dict[str, Any]) -> list[Change]:
    """Return what differs between the state and the cloud, from a plan in Terraform's JSON."""
    return sorted(_changes(plan.get("resource_drift", [])), key=lambda change: change.address)


def _changes(items: list[dict[str, Any]]) -> list[Change]:
    found = []
    for item in items:
        change = item["change"]
        actions = change["actions"]
        if item.get("mode") == "data":
            continue
        if "importing" in change and actions in (["no-op"], ["update"]):
            action = "import"
        elif actions == ["no-op"] or actions == ["read"] or "open" in actions:
            continue
        elif "create" in actions and "delete" in actions:
            action = "replace"
        else:
            action = str(actions[0])
        because = tuple(".".join(map(str, path)) for path in change.get("replace_paths", []))
        found.append(Change(item["address"], item["type"], action, _fields(change), because))
    return found


def _fields(change: dict[str, Any]) -> tuple[str, ...]:
    before, after, unknown = (
        change.get("before") or {},
        change.get("after") or {},
        change.get("after_unknown") or {},
    )
    if not isinstance(before, dict) or not isinstance(after, dict) or not before or not after:
        return ()
    hidden = {**_marked(change.get("before_sensitive")), **_marked(change.get("after_sensitive"))}
    found = []
    for key in sorted({*before, *after}):
        if key in unknown and unknown[key] is True:
            continue  # known once it is applied
        if before.get(key) == after.get(key) or key == "tags_all":
            continue
        if key in hidden:
            found.append(f"{key}: (hidden)")
        else:
            found.append(f"{key}: {_difference(before.get(key), after.get(key))}")
    return tuple(found)


def _marked(value: Any) -> dict[str, Any]:
    return {key: mark for key, mark in value.items() if _any_true(mark)} if isinstance(value, dict) else {}


def _any_true(mark: Any) -> bool:
    if isinstance(mark, dict):
        return any(_any_true(item) for item in mark.values())
    if isinstance(mark, list):
        return any(_any_true(item) for item in mark)
    return mark is True


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        return "; ".join(f"{key} {_short(before.get(key))} → {_short(after.get(key))}" for key in keys[:4])
    return f"{_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "…"
