"""Puts a user's texts into a Dockerfile so that none can end its line: each is checked, then quoted for its place.

An instruction of a Dockerfile ends with its line. So a text with a line break, in an index's URL or a variable's
value, would add an instruction that nobody wrote. `refuse_control_characters` looks at every text of an `ImageSpec`, so
a field that is added later is covered too. The other functions return a text in the form that its place needs.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping

from rayform_core.errors import UsageError
from rayform_runtime.spec import ImageSpec

__all__ = [
    "image_name",
    "path_in_image",
    "quoted",
    "refuse_control_characters",
    "url_word",
    "variable_name",
    "word",
]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
"""RFC 3986: the characters of a URL; none is a blank, a quote of Docker's or a backslash."""
_PATH = re.compile(r"[\w ./+@=,:~%()#&!{}^-]+")
"""Without wildcards, `$` and backslashes, which `COPY` replaces also in its JSON form."""


def refuse_control_characters(spec: ImageSpec) -> None:
    """Refuse line breaks and other control characters in every text of an image's specification.

    Requirements may end with a line break, as `open(…).readlines()` returns them, and variables may have tabs.

    Raises:
        UsageError: names the field; the text itself may be a secret and isn't repeated.
    """
    for field, text in _texts(spec.model_dump(exclude_none=True), ""):
        if field.startswith("requirements"):
            text = text.strip()
        if field.startswith("environment"):
            text = text.replace("\t", " ")
        for position, character in enumerate(text):
            if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
                what = "a line break" if len(f"a{character}b".splitlines()) > 1 else "a control character"
                raise UsageError(
                    f"'{field}' of the image has {what} at character {position + 1}.",
                    why="It would end the line of the Dockerfile and begin an instruction of its own.",
                    hint="Put a long text into a file of the image; make each requirement an entry of its own.",
                )


def _texts(value: object, field: str) -> Iterator[tuple[str, str]]:
    """Yield each text inside a value, keys included, with the field that it is in."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{field}.{key}" if field and str(key).isidentifier() else field or str(key)
            if field:
                yield field, str(key)
            yield from _texts(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, field)


def word(value: str, pattern: str, message: str, hint: str) -> str:
    """Return a text that needs no quotes.

    Args:
        value: the text.
        pattern: what it must be, as a whole.
        message: the error's first sentence.
        hint: what to write instead.

    Raises:
        UsageError: it is something else.
    """
    if not re.fullmatch(pattern, value):
        raise UsageError(message, hint=hint)
    return value


def image_name(name: str) -> str:
    """Return the name of a container image, for `FROM`."""
    pattern = r"[A-Za-z0-9][A-Za-z0-9._:/@-]*"
    message = f"'{name}' isn't the name of a container image."
    return word(name, pattern, message, "Write it as in `python:3.11-slim`.")


def variable_name(name: str) -> str:
    """Return the name of a variable, for `ENV`."""
    message = f"'{name}' isn't a valid name for an environment variable."
    return word(name, r"[A-Za-z_][A-Za-z0-9_]*", message, "Use letters, digits and underscores.")


def quoted(value: str) -> str:
    """Return a value of `ENV` in Docker's double quotes, in which `\\`, `"` and `$` have a meaning.

    Raises:
        UsageError: it has a line break, which no quotes can hold.
    """
    if len(f"{value}.".splitlines()) > 1 or "\0" in value:
        raise UsageError(
            "An environment variable of an image can't hold a line break.",
            hint="Put the text into a file of the image.",
        )
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def url_word(url: str, field: str) -> str:
    """Return a URL as one word of a shell's command, for `RUN`.

    Raises:
        UsageError: it has characters that no URL has, or no scheme.
    """
    if not _URL.fullmatch(url):
        raise UsageError(
            f"'{field}' of the image is not a URL.",
            why="It has a character that a URL can't have, or doesn't begin with a scheme such as `https://`.",
            hint="Write it as in `https://pypi.example.com/simple`; other characters are percent-encoded.",
        )
    return shlex.quote(url)


def path_in_image(path: str) -> str:
    """Return a path for `COPY`'s JSON form.

    Raises:
        UsageError: Docker would change it: it has a wildcard, `$` or a backslash.
    """
    if not _PATH.fullmatch(path):
        raise UsageError(
            f"'{path}' in the image's files has a character that Docker replaces.",
            hint="Use letters, digits, blanks and `._-+@=,:~%()#&!{}^` in paths of the image.",
        )
    return path
