"""What Rayform reads from a script without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayform_runtime.usercode.main_module import reads_command_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import sys\nMODE = sys.argv[1]\n", True),
        ("import argparse\noptions = argparse.ArgumentParser().parse_args()\n", True),
        ("import sys\n@step\ndef f():\n    return sys.argv\n", True),
        ("import sys\nclass A:\n    mode = sys.argv[-1]\n", True),
        ("import sys\nif __name__ == '__main__':\n    run(sys.argv[1])\n", False),
        ("import sys\nif __name__ == '__main__':\n    pass\nelse:\n    MODE = sys.argv[1]\n", True),
        ("def main():\n    options = parser.parse_args()\n    training(options.epochs)\nmain()\n", False),
        ("MODE = 'argv'\n", False),
        ("argv = (\n", False),
    ],
)
def test_script_reads_its_command_line(tmp_path: Path, text: str, expected: bool) -> None:
    """What runs in workers counts; the guard's block and plain functions don't."""
    file = tmp_path / "script.py"
    file.write_text(text)
    assert reads_command_line(str(file)) is expected
