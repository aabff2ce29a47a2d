"""The stacks that are registered on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from rayform.stacks import active_record, list_stacks
from rayform_core.errors import RayformError
from rayform_server import context

if TYPE_CHECKING:
    from rayform.stacks import StackRecord
    from rayform_provisioner.stack_folder import HistoryEntry
    from rayform_provisioner.stack_folder import StackRecord as Deployment

__all__ = ["stacks"]


@dataclass(frozen=True, slots=True)
class Card:
    """A stack: its registration, and what this machine keeps of its deployment."""

    record: StackRecord
    deployment: Deployment | None = None
    history: list[HistoryEntry] = field(default_factory=list)
    problem: str | None = None


def stacks(request: Request) -> Response:
    """Show the registered stacks, their components and what was deployed. Asks no cloud."""
    cards = [_card(record) for record in list_stacks()]
    return context.page(request, "stacks.html", cards=cards, active=active_record(None).name)


def _card(record: StackRecord) -> Card:
    if record.reference is None:
        return Card(record)
    from rayform_provisioner.stack_folder import StackFolder

    try:
        folder = StackFolder(record.name)
        return Card(record, folder.record(), list(reversed(folder.history()))[:10])
    except RayformError as error:
        return Card(record, problem=str(error))
