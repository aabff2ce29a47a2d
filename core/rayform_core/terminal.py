"""Text from anywhere, made safe to print on a terminal: colours stay, every other control character becomes visible.

What steps print, what a catalog's rows hold and what other programs report can carry escape sequences that write the
clipboard (OSC 52), clear the screen, change the window's title or type answers on the user's behalf. All such text
passes through `printable` on its way to a terminal.
"""

from __future__ import annotations

import functools
import re
import unicodedata

__all__ = ["escaped_json", "printable"]

_COLOURS = re.compile(r"\x1b\[([0-9;:]{0,64})m")
_RESET = "\x1b[0m"
_CONCEAL = 8
"""The one attribute of ECMA-48's SGR that hides text."""
_KEPT = {"\n", "\t"}
# These have no width or change how their neighbours look, and emoji and several scripts need them.
_KEPT_FORMATS = {"\u00ad", "\u200c", "\u200d"}
# Signs of Arabic, Syriac, Kaithi and Egyptian text that stand in Unicode's category "format", and are visible.
_VISIBLE_FORMATS = re.compile(
    "[\u0600-\u0605\u06dd\u070f\u0890-\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]"
)
_TO_JUDGE = re.compile(r"[^\n\t\x20-\x7e]")
_PLAIN = re.compile(r"[\n\t\x20-\x7e]*")


def printable(text: str, *, colours: bool = True) -> str:
    r"""Return text with its control characters written out, such as `\x1b`; line breaks and tabs stay.

    Written out are the controls of ASCII and of Latin-1 (C0, DEL, C1), characters that reorder or hide text
    (bidirectional controls, zero-width ones, tags), Unicode's line and paragraph separators, and halves of surrogate
    pairs.

    Args:
        text: the text.
        colours: keep sequences that only set colours and styles (SGR, without "concealed"), and end them with the text,
            so that they don't reach what follows.

    Example:
        >>> printable("\x1b]52;c;aGk=\x07done")
        '\\x1b]52;c;aGk=\\x07done'
        >>> printable("\x1b[31mred")
        '\x1b[31mred\x1b[0m'
    """
    if _PLAIN.fullmatch(text):
        return text
    if not colours:
        return _written_out(text)
    parts: list[str] = []
    position, is_open = 0, False
    for match in _COLOURS.finditer(text):
        parts.append(_written_out(text[position : match.start()]))
        if _conceals(match[1]):
            parts.append(_written_out(match[0]))
        else:
            parts.append(match[0])
            is_open = match[1].strip("0;") != ""
        position = match.end()
    parts.append(_written_out(text[position:]))
    if is_open:
        parts.append(_RESET)
    return "".join(parts)


def escaped_json(text: str) -> str:
    r"""Return a JSON document with the same characters written as `\uXXXX`; it means the same.

    Args:
        text: a document as `json.dumps(…, ensure_ascii=False)` writes it.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_json_escape(c) if _is_unsafe(c) else c for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _written_out(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return _TO_JUDGE.sub(lambda match: _shown(match[0]), text)


@functools.lru_cache(maxsize=8192)
def _shown(character: str) -> str:
    return ascii(character)[1:-1] if _is_unsafe(character) else character


def _is_unsafe(character: str) -> bool:
    if character in _KEPT:
        return False
    match unicodedata.category(character):
        case "Cc" | "Zl" | "Zp" | "Cs":
            return True
        case "Cf":
            return character not in _KEPT_FORMATS and not _VISIBLE_FORMATS.match(character)
    return False


def _conceals(parameters: str) -> bool:
    """Whether SGR parameters hide text; an 8 within an extended colour (`38;5;8`) is only a colour."""
    parts = iter(parameters.split(";"))
    for part in parts:
        number, colon, _ = part.partition(":")
        if number in ("38", "48", "58"):
            # With colons, all of an extended colour stands in this part.
            kind = "" if colon else next(parts, "")
            for _ in range({"5": 1, "2": 3}.get(kind, 0)):
                next(parts, "")
        elif number and int(number) == _CONCEAL:
            return True
    return False
