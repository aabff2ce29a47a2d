"""Reads a plan that Terraform streamed or saved: the changes, those that take data away, and the drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from rayform_provisioner.definitions.costs import CostEstimate
from rayform_provisioner.terraform.runner import Event, Finished

__all__ = [
    "Change",
    "PlanSummary",
    "plain_changes",
    "planned_changes",
    "read_changes",
    "read_drift",
]

DATA_HOLDERS = {
    "aws_s3_bucket": "the bucket, with every artifact",
    "aws_ecr_repository": "the repository, with every step image",
    "aws_db_instance": "the catalog, with every run and model",
}
"""Terraform type to the data in it; a second cloud adds its types."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan does to one resource.

    Args:
        address: the resource.
        kind: its type.
        action: `create`, `update`, `delete`, `replace`, `import` or `forget`.
        fields: attributes that differ, with their old and new values, shortened.
        because: attributes whose change forces a replacement.
    """

    address: str
    kind: str
    action: str
    fields: tuple[str, ...] = ()
    because: tuple[str, ...] = ()

    @property
    def data_at_risk(self) -> str | None:
        """The data that it would take away, or `None`."""
        return DATA_HOLDERS.get(self.kind) if self.action in ("delete", "replace") else None


@dataclass(slots=True)
class PlanSummary:
    """A plan, as the user sees it before agreeing to it.

    Args:
        name, reference: the stack.
        changes: what would change.
        cost: what the stack would then cost.
        drift: what was changed without Terraform.
        warnings: what the user should know.
        holdings: the data of a stack that is to be destroyed, component to words.
        outputs_changed: whether Terraform has something to apply, be it only outputs.
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
        """The data that the plan would take away."""
        return [f"{c.address}: {c.data_at_risk}" for c in self.changes if c.data_at_risk]


def plain_changes(done: Finished) -> list[Change] | None:
    """Return the changes from the event stream alone, or `None` if the saved plan has details to show.

    Reading a saved plan takes Terraform a second, and a plan that only creates resources has no details to show.
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
    """Return the changes that Terraform reported while it planned, without details, ordered by address."""
    planned = (event for event in events if event.phase == "planned" and event.action != "read")
    return sorted(
        (Change(e.address, _kind(e.address), e.action) for e in planned), key=lambda change: change.address
    )


def _kind(address: str) -> str:
    """Return the Terraform type in `address`; only AWS's types are recognised so far."""
    for part in address.split("."):
        if part.startswith("aws_"):
            return part
    return ""


class _ChangeBody(TypedDict):
    """What a plan does to a resource, in Terraform's JSON."""

    actions: list[str]
    before: NotRequired[object]
    after: NotRequired[object]
    after_unknown: NotRequired[object]
    before_sensitive: NotRequired[object]
    after_sensitive: NotRequired[object]
    importing: NotRequired[object]
    replace_paths: NotRequired[list[list[object]]]


class _ResourceChange(TypedDict):
    """One resource of a plan, in Terraform's JSON."""

    address: str
    type: str
    mode: NotRequired[str]
    change: _ChangeBody


def read_changes(plan: Mapping[str, Any]) -> list[Change]:
    """Return the changes of a plan in Terraform's JSON, ordered by address."""
    return sorted(_changes(plan.get("resource_changes", [])), key=lambda change: change.address)


def read_drift(plan: Mapping[str, Any]) -> list[Change]:
    """Return what differs between the state and the cloud, from a plan in Terraform's JSON."""
    return sorted(_changes(plan.get("resource_drift", [])), key=lambda change: change.address)


def _changes(items: list[_ResourceChange]) -> list[Change]:
    changes = []
    for item in items:
        change = item["change"]
        action = _action(change)
        if item.get("mode") == "data" or action is None:
            continue
        because = tuple(".".join(map(str, path)) for path in change.get("replace_paths", []))
        changes.append(Change(item["address"], item["type"], action, _fields(change), because))
    return changes


def _action(change: _ChangeBody) -> str | None:
    """Return the one word for Terraform's list of actions; `None` if nothing changes."""
    actions = change["actions"]
    if "importing" in change and actions in (["no-op"], ["update"]):
        return "import"
    if actions in (["no-op"], ["read"]) or "open" in actions:
        return None
    return "replace" if "create" in actions and "delete" in actions else actions[0]


def _fields(change: _ChangeBody) -> tuple[str, ...]:
    before, after = _attributes(change.get("before")), _attributes(change.get("after"))
    unknown = _attributes(change.get("after_unknown"))
    if not before or not after:
        return ()
    hidden = _marked(change.get("before_sensitive")) | _marked(change.get("after_sensitive"))
    fields = []
    for key in sorted({*before, *after}):
        if unknown.get(key) is True:
            continue  # only known after the plan is applied
        if before.get(key) == after.get(key) or key == "tags_all":
            continue
        difference = "(hidden)" if key in hidden else _difference(before.get(key), after.get(key))
        fields.append(f"{key}: {difference}")
    return tuple(fields)


def _attributes(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _marked(value: object) -> set[str]:
    """Return the attributes of which Terraform marks at least a part."""
    return {key for key, mark in _attributes(value).items() if _any_true(mark)}


def _any_true(mark: object) -> bool:
    if isinstance(mark, dict):
        return any(_any_true(item) for item in mark.values())
    if isinstance(mark, list):
        return any(_any_true(item) for item in mark)
    return mark is True


def _difference(before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        return "; ".join(f"{key} {_short(before.get(key))} → {_short(after.get(key))}" for key in keys[:4])
    return f"{_short(before)} → {_short(after)}"


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "…"
