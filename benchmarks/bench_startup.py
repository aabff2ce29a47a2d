"""Whole processes: imports, commands, and a script with one step."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Row, command_seconds, row

SCRIPT = """
from rayform import pipeline, step

@step
def hello(number: int = 1) -> int:
    return number + 1

@pipeline(enable_cache=False)
def greeting() -> None:
    hello()

if __name__ == "__main__":
    greeting()
"""


def run() -> list[Row]:
    """Measure each command as a user would start it."""
    command = str(Path(sys.executable).parent / "rayform")
    with tempfile.TemporaryDirectory() as folder:
        before = dict(os.environ)
        os.environ["RAYFORM_HOME"] = f"{folder}/home"
        try:
            script = Path(folder) / "run.py"
            script.write_text(SCRIPT)
            bare = statistics.median(command_seconds([sys.executable, "-c", "pass"], repeat=15))
            imported = command_seconds([sys.executable, "-c", "import rayform"], repeat=15)
            one_step = command_seconds([sys.executable, str(script)], cwd=folder)
            rows = [
                row(
                    "import rayform, over bare Python",
                    [(t - bare) * 1000 for t in imported],
                    "ms",
                    bar=60,
                    baseline=bare * 1000,
                    baseline_name="python -c pass",
                ),
                row(
                    "python run.py with one step, whole process",
                    one_step,
                    "s",
                    bar=0.4,
                    baseline=bare,
                    baseline_name="python -c pass",
                ),
            ]
            for arguments, bar in (("--help", 120), ("stack list", 250), ("runs list", 250)):
                times = command_seconds([command, *arguments.split()], cwd=folder)
                rows.append(
                    row(
                        f"rayform {arguments}",
                        [t * 1000 for t in times],
                        "ms",
                        bar=bar,
                        baseline=bare * 1000,
                        baseline_name="python -c pass",
                    )
                )
            return rows
        finally:
            os.environ.clear()
            os.environ.update(before)
