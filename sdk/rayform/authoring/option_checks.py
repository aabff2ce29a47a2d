"""Checks of what a person wrote in options: specs, tags, names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rayform_core.errors import UsageError

__all__ = ["checked", "checked_environment", "checked_tags", "refuse_odd_name"]

S = TypeVar("S", bound=BaseModel)
_NAME = re.compile(r"[\w<][\w .<>\-]{0,199}")  # a lambda's name is <lambda>


def checked(model: type[S], what: str, /, **fields: Any) -> S:
    """Build a spec; what pydantic refuses is a wrong option of the person's."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        raise UsageError(f"{what} has a wrong '{option}'.", why=f"{first['msg']}.") from None


def checked_tags(what: str, *given: Any) -> list[str]:
    """Return all tags once, in order; a text where a list belongs is refused."""
    for tags in given:
        if isinstance(tags, str):
            raise UsageError(f"{what} got the tags {tags!r}.", hint=f"Give a list: tags=[{tags!r}].")
    return list(dict.fromkeys(tag for tags in given for tag in tags))


def checked_environment(what: str, given: Mapping[Any, Any]) -> dict[str, str]:
    """Return variables that every system takes.

    Raises:
        UsageError: a name or value isn't text, a name is empty or holds `=` or a blank, or something holds a NUL.
    """
    for name, value in given.items():
        why = None
        if not isinstance(name, str) or not isinstance(value, str):
            why = "Names and values must both be strings."
        elif not name or "=" in name or any(sign.isspace() for sign in name):
            why = f"{name!r} can't be the name of a variable."
        elif not _is_passable(name) or not _is_passable(value):
            why = f"Variable {name!r} holds a character that no system takes in its environment."
        if why is not None:
            raise UsageError(f"{what} has a wrong 'environment'.", why=why)
    return dict(given)


def _is_passable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def refuse_odd_name(what: str, name: str) -> None:
    """Names stand in files, URIs and commands: no separators, no control characters."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} has the name {name!r}.",
            why="A name has 1 to 200 letters, digits, spaces, '_', '.' and '-'.",
            hint="Choose another with `name=`.",
        )
