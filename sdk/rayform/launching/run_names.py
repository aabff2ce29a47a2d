"""How a run's name is made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform_runtime.spec import PipelineSpec

__all__ = ["new_run_name", "new_spin_name"]


def new_run_name(spec: PipelineSpec, run_id: UUID) -> str:
    """Return a run's name: the pipeline's template filled in, or `<pipeline>-<date>-<time>-<short ID>`.

    Raises:
        UsageError: the template has an unknown placeholder, or gives a name that isn't valid.
    """
    now = datetime.now()  # local time, since people read it
    facts = {
        "pipeline": spec.name,
        "date": now.strftime("%Y_%m_%d"),
        "time": now.strftime("%H_%M_%S"),
        "id": run_id.hex[-6:],
        **spec.substitutions,
    }
    template = spec.run_name or "{pipeline}-{date}-{time}-{id}"
    try:
        name = template.format_map(facts)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"The run name '{template}' can't be filled in.",
            why=f"{type(error).__name__}: {error}.",
            hint=f"Placeholders that exist: {', '.join('{' + f + '}' for f in facts)}.",
        ) from None
    if not name.strip() or len(name) > 255 or any(ord(c) < 32 for c in name):
        raise UsageError(f"{name!r} is not a valid run name.", hint="Use 1 to 255 printable characters.")
    return name


def new_spin_name(run: str, key: str, index: int | None, run_id: UUID) -> str:
    """Return the name of a spin: the earlier run's name, the step, the instance if there is one, and a short ID."""
    return "-".join([run, key, *([] if index is None else [str(index)]), run_id.hex[-6:]])
