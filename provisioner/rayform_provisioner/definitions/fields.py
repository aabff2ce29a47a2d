"""The texts that a definition's fields hold, and the base of its sections."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo

_T = TypeVar("_T")

__all__ = [
    "APPLIED",
    "BucketName",
    "GroupName",
    "InstanceType",
    "KmsKey",
    "MachineImage",
    "Name",
    "RayVersion",
    "Region",
    "Section",
    "SubnetId",
    "Zone",
    "is_applied",
    "matching",
    "refuse_others",
]


class Section(BaseModel):
    """A part of a definition: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def matching(pattern: str, max_length: int | None = None) -> StringConstraints:
    """Return what a text must be: like `pattern`, and no longer than `max_length` letters."""
    return StringConstraints(pattern=pattern, max_length=max_length)


# No two hyphens in a row: neither RDS nor ECR allows them.
Name = Annotated[str, matching(r"^[a-z](-?[a-z0-9])*$", max_length=24)]
GroupName = Annotated[str, matching(r"^[a-z][a-z0-9-]{0,30}$", max_length=31)]
InstanceType = Annotated[str, matching(r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
MachineImage = Annotated[str, matching(r"^(ami-[0-9a-f]{8,17}|ssm:/[A-Za-z0-9._/-]+)$")]
KmsKey = Annotated[str, matching(r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$")]
Zone = Annotated[str, matching(r"^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$")]
Region = Annotated[str, matching(r"^[a-z]{2}(-[a-z]+)+-[0-9]$")]
SubnetId = Annotated[str, matching(r"^subnet-[0-9a-f]{8,17}$")]
RayVersion = Annotated[str, matching(r"^2\.[0-9]+\.[0-9]+$")]
BucketName = Annotated[str, matching(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


APPLIED = {"applied": True}
"""The validation context of a definition that was deployed: rules that came later must not prevent its destroy."""


def is_applied(info: ValidationInfo) -> bool:
    """Return whether the definition that is validated was deployed already."""
    return info.context is not None and info.context.get("applied") is True


def refuse_others(
    value: _T | None,
    info: ValidationInfo,
    section: type[BaseModel],
    what: str,
    beside: tuple[str, ...] = (),
) -> _T | None:
    """Return `value`, the last field of `section`, which leaves the section's other fields without effect.

    Args:
        value: what is used instead of what the other fields describe; `None` refuses nothing.
        info: pydantic's, with the other fields' values.
        section: the section.
        what: `value` in the error's sentence.
        beside: fields that may stand next to it.

    Raises:
        ValueError: another field is not at its default.
    """
    if value is not None and not is_applied(info):
        others = [
            name
            for name, other in info.data.items()
            if name not in beside and other != section.model_fields[name].get_default()
        ]
        if others:
            raise ValueError(
                f"{what} takes no {' and no '.join(others)}; leave {'it' if len(others) == 1 else 'them'} out"
            )
    return value
