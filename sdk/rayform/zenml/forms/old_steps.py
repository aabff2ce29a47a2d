"""`Output` and `BaseParameters`: how steps named outputs and grouped parameters before ZenML 0.40."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

__all__ = ["BaseParameters", "Output"]


class BaseParameters(BaseModel):
    """Parameters of a step, as one argument; pass an instance to the step. Any pydantic model can be one."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


def Output(**types: Any) -> Any:  # noqa: N802 - ZenML's name
    """Return the annotation of a step with named outputs.

    Example:
        >>> Output(rows=int, name=str) == tuple[Annotated[int, "rows"], Annotated[str, "name"]]
        True
    """
    members = tuple(Annotated[type_, name] for name, type_ in types.items())
    return members[0] if len(members) == 1 else tuple.__class_getitem__(members)
