"""What the SDK costs before a step starts: the decorators' import, tracing, and `rayform run`."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Row, command_seconds, row, seconds_of

SCRIPT = """
from rayform import pipeline, step

@step
def increase(number: int) -> int:
    return number + 1

@pipeline
def chain(length: int = 1) -> None:
    number = increase(0)
    for _ in range(length - 1):
        number = increase(number)
"""


def run() -> list[Row]:
    """Measure imports and commands as whole processes, tracing within one."""
    command = str(Path(sys.executable).parent / "rayform")
    with tempfile.TemporaryDirectory() as folder:
        before, path = dict(os.environ), list(sys.path)
        os.environ["RAYFORM_HOME"] = f"{folder}/home"
        try:
            script = Path(folder) / "traced_chain.py"
            script.write_text(SCRIPT)
            bare = statistics.median(command_seconds([sys.executable, "-c", "pass"], repeat=15))
            imports = command_seconds([sys.executable, "-c", "from rayform import step, pipeline"], repeat=15)
            through_cli = command_seconds([command, "run", str(script)], cwd=folder)
            sys.path.insert(0, folder)
            import traced_chain  # type: ignore[import-not-found]

            traced_chain.chain.trace(length=2)
            times = seconds_of(lambda: traced_chain.chain.trace(length=1000))
            return [
                row(
                    "from rayform import step, pipeline, over bare Python",
                    [(t - bare) * 1000 for t in imports],
                    "ms",
                    bar=25,
                    baseline=bare * 1000,
                    baseline_name="python -c pass",
                ),
                row("tracing a pipeline of 1,000 steps", times, "s", bar=0.5),
                row(
                    "rayform run with one step from the cache, whole process",
                    through_cli,
                    "s",
                    bar=0.5,
                    baseline=bare,
                    baseline_name="python -c pass",
                ),
            ]
        finally:
            os.environ.clear()
            os.environ.update(before)
            sys.path[:] = path
