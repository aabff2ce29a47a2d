"""Which earlier runs may run their code again: those that this user began on this machine, and those it trusts.

A run's row names functions, arguments, folders of code, and may hold pickled functions. Whoever may write to the
catalog may write such a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import ConflictError
from rayform_core.machine_key import is_signed, sign

if TYPE_CHECKING:
    from rayform.reading.views import RunView
    from rayform_runtime.spec import PipelineSpec, StepSpec

__all__ = ["UntrustedRunError", "refuse_untrusted", "signed"]


class UntrustedRunError(ConflictError):
    """A run that wasn't begun on this machine would run its code here."""


def signed(spec: PipelineSpec, run_id: UUID) -> PipelineSpec:
    """Return the pipeline with a signature of this machine, for the run with this ID."""
    return spec.model_copy(update={"signature": sign(*spec.signed_parts(run_id)) or None})


def refuse_untrusted(run: RunView, spec: PipelineSpec, *, is_trusted: bool, step: str | None = None) -> None:
    """Refuse to run the code of an earlier run that this user didn't begin on this machine.

    Args:
        run: the run.
        spec: its pipeline, as the catalog has it.
        is_trusted: whether the user trusts the run, or all of its stack.
        step: the key of the step that alone runs again; by default the whole pipeline does.

    Raises:
        UntrustedRunError: the run isn't trusted.
    """
    signed_things: list[PipelineSpec | StepSpec] = [spec]
    if step is not None and spec.is_dynamic:
        # Calls are recorded, and signed, one by one. A resumed body makes them again.
        signed_things.append(spec.step(step))
    if is_trusted or all(
        is_signed(thing.signature or "", *thing.signed_parts(run.id)) for thing in signed_things
    ):
        return
    who = f"'{run.record.user}' on '{run.record.host}'" if run.record.user else "Another user or machine"
    raise UntrustedRunError(
        f"Run '{run.name}' wasn't begun on this machine, and its code isn't run here.",
        why=f"{who} began it, by what the catalog says. Its record names the code and the arguments to run, and "
        "whoever may write to the catalog may have changed it.",
        hint="If you trust those who may write to this catalog, add --trust; for all runs and values of the stack: "
        "rayform stack update NAME --trusted. Nothing was changed.",
    )
