"""What text from steps, catalogs and clouds may do to a terminal: set colours."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.terminal import escaped_json, printable

_SDK = Path(__file__).parents[3] / "sdk" / "rayform"

# What terminals obey: ECMA-48's control functions with all their introducers, and what xterm and others add to them.
_CONTROL_STRINGS = {"DCS": "P", "SOS": "X", "OSC": "]", "PM": "^", "APC": "_"}
_BIDI = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ATTACKS = {
    **{f"CSI …{chr(final)}": f"\x1b[1;2{chr(final)}" for final in range(0x40, 0x7F) if chr(final) != "m"},
    **{f"private CSI …{chr(final)}": f"\x1b[?1049{chr(final)}" for final in range(0x40, 0x7F)},
    **{f"8-bit CSI …{chr(final)}": f"\x9b2{chr(final)}" for final in range(0x40, 0x7F)},
    **{f"ESC {chr(byte)}": f"\x1b{chr(byte)}" for byte in range(0x20, 0x7F) if chr(byte) != "["},
    **{f"{name} BEL": f"\x1b{sign}52;c;ZXZpbA==\x07" for name, sign in _CONTROL_STRINGS.items()},
    **{f"{name} ST": f"\x1b{sign}0;title\x1b\\" for name, sign in _CONTROL_STRINGS.items()},
    **{f"C0 {code:#x}": chr(code) for code in range(0x20) if chr(code) not in "\n\t"},
    **{f"C1 {code:#x}": chr(code) for code in range(0x7F, 0xA0)},
    **{f"bidi {code:#x}": chr(code) for code in _BIDI},
    "clear the screen": "\x1b[2J\x1b[H",
    "hyperlink": "\x1b]8;;https://evil.example\x1b\\ok\x1b]8;;\x1b\\",
    "answerback": "\x05",
    "device attributes": "\x1b[c",
    "report the title": "\x1b[21t",
    "tmux passthrough": "\x1bPtmux;\x1b\x1b]52;c;ZXZpbA==\x07\x1b\\",
    "sixel": "\x1bPq#0;2;0;0;0~\x1b\\",
    "image of iTerm": "\x1b]1337;File=inline=1:AAAA\x07",
    "concealed text": "\x1b[8mhidden",
    "concealed among others": "\x1b[1;08;31mhidden",
    "concealed after a colour with colons": "\x1b[38:5:1;8mhidden",
    "concealed after a short colour": "\x1b[38;5;8;8mhidden",
    "concealed after nothing": "\x1b[;8mhidden",
    "colour with an intermediate byte": "\x1b[31 m",
    "modify other keys": "\x1b[>4;2m",
    "unfinished": "\x1b[31",
    "nested": "\x1b[3\x1b[2J1m",
    "half of a surrogate pair": "\ud83d",
    "separators": "\u2028\u2029\x85\x0b\x0c",
    "tags": "\U000e0041\U000e0042",
}  # fmt: skip
_SGR = re.compile(r"\x1b\[[0-9;:]*m")


def _obeyed(text: str) -> list[str]:
    """Return the characters of a text that a terminal doesn't just draw."""
    rest = _SGR.sub("", text)
    return [c for c in rest if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") and c not in "\n\t"]


@pytest.mark.parametrize("attack", _ATTACKS.values(), ids=_ATTACKS)
def test_nothing_but_colour_reaches_a_terminal(attack: str) -> None:
    """Every control function but a colour is shown as text, also inside other text, and no character is lost."""
    for text in (attack, f"before{attack}after", f"\x1b[32m{attack}\x1b[0m"):
        shown = printable(text)
        assert not _obeyed(shown)
        assert "\\" in shown
        assert not set(shown) & {c for c in text if unicodedata.category(c) == "Cf"}
        assert "\x1b" not in printable(text, colours=False)


@pytest.mark.parametrize(
    "text",
    ["\x1b[31mred\x1b[0m", "\x1b[1;38;5;8mgrey\x1b[m", "\x1b[38;2;8;8;8mdark\x1b[0m", "\x1b[4:3mwavy\x1b[0m",
     "\x1b[38:5:8mgrey\x1b[0m",
     "plain\ttext\n", "naïve 日本語 👩‍👩‍👧 می‌خواهم Ελ", ""],
)  # fmt: skip
def test_colours_and_languages_stay_as_they_are(text: str) -> None:
    """Colours, emoji joined by zero-width joiners and text of any language pass unchanged."""
    assert printable(text) == text


def test_a_colour_that_is_left_open_ends_with_its_text() -> None:
    """A text can't colour what is printed after it."""
    assert printable("\x1b[31mred") == "\x1b[31mred\x1b[0m"


@given(st.text(st.characters() | st.sampled_from("\x1b[]P;:?m8\x9b\x07\u202e\ud800")))
def test_any_text_is_safe_and_stays_so(text: str) -> None:
    """No text gets a control character through, and a second pass changes nothing."""
    shown = printable(text)
    assert not _obeyed(shown)
    assert printable(shown) == shown


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\ud800\U000e0041\x7f")))
def test_json_means_the_same_and_is_safe(text: str) -> None:
    """JSON for programs keeps its meaning, and a terminal that shows it obeys nothing in it."""
    document = escaped_json(json.dumps({"text": text}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {"text": text}
    assert not _obeyed(document)


def test_every_command_prints_through_one_function() -> None:
    """No command writes to the terminal itself; `output.py` and `main` are the only callers of click's own printers."""
    callers = {}
    printers = ("click.echo", "click.secho", "sys.stdout.write")
    for path in (_SDK / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in printers:
                callers[path.relative_to(_SDK).as_posix()] = True
    assert sorted(callers) == ["cli/__init__.py", "cli/output.py"]
