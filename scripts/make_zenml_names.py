"""Writes docs/zenml-names.md from the table of names; with `--check`, only checks that the page is up to date.

python scripts/make_zenml_names.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from rayform.migration.names import COMMANDS, INSTEAD, NAMES

TARGET = Path(__file__).parent.parent / "docs" / "zenml-names.md"
INTRODUCTION = """\
# ZenML's names

Generated from `sdk/rayform/migration/names.py` by `scripts/make_zenml_names.py`; don't edit it by hand.
`rayform migrate from-zenml` uses the same table. A name that stands in none of these tables is in `rayform.zenml` under
the path that it has in ZenML, if Rayform has it: `zenml.io.fileio` is `rayform.zenml.io.fileio`.
"""


def page() -> str:
    """Return the page."""
    lines = [INTRODUCTION, "## Names", "", "| ZenML | Rayform |", "| --- | --- |"]
    lines += [f"| `{old.replace(':', '.')}` | `{home}` |" for old, home in sorted(NAMES.items())]
    lines += ["", "## Without a counterpart", "", "| ZenML | instead |", "| --- | --- |"]
    lines += [f"| `{old.replace(':', '.')}` | {_cell(text)} |" for old, text in sorted(INSTEAD.items())]
    lines += ["", "## Commands", "", "| ZenML | Rayform |", "| --- | --- |"]
    lines += [f"| `{old}` | {_cell(_command(new))} |" for old, new in sorted(COMMANDS.items())]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _command(text: str) -> str:
    command, comma, rest = text.partition(",")
    return f"`{command}`{comma}{rest}" if command.startswith("rayform ") and "has no" not in command else text


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit code."""
    if "--check" in arguments:
        if TARGET.read_text() == page():
            return 0
        sys.stderr.write("docs/zenml-names.md is out of date: python scripts/make_zenml_names.py\n")
        return 1
    TARGET.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
