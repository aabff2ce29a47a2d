"""`Tag`: a tag with rules. A plain string is a tag without any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Tag", "tag_names"]


class Tag:
    """A tag of a run or of an artifact version, with rules.

    Args:
        name: the tag.
        exclusive: the newest run of its pipeline, or version of its artifact, takes the tag away from the others.
        cascade: the tag of a run also becomes the tag of the artifact versions that the run makes.
        color: kept for code written for ZenML; Rayform shows all tags alike.

    Raises:
        UsageError: the name is empty.

    Example:
        >>> @pipeline(tags=["nightly", Tag(name="current", exclusive=True)])
        ... def training() -> None: ...
    """

    __slots__ = ("cascade", "color", "exclusive", "name")

    def __init__(
        self,
        name: str,
        *,
        exclusive: bool | None = None,
        cascade: bool | None = None,
        color: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"A tag needs a name, and {name!r} is not one.")
        self.name = name
        self.exclusive = bool(exclusive)
        self.cascade = bool(cascade)
        self.color = color

    def __repr__(self) -> str:
        rules = [rule for rule in ("exclusive", "cascade") if getattr(self, rule)]
        return f"Tag({', '.join([repr(self.name), *(f'{rule}=True' for rule in rules)])})"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tag):
            return NotImplemented
        return (self.name, self.exclusive, self.cascade) == (other.name, other.exclusive, other.cascade)

    def __hash__(self) -> int:
        return hash((self.name, self.exclusive, self.cascade))


def tag_names(tags: Iterable[str | Tag]) -> list[str]:
    """Return the names of tags."""
    return [tag.name if isinstance(tag, Tag) else tag for tag in tags]
