"""Whole commands as a user starts them: on an empty catalog, and on one with 100,000 runs and a million versions.

`RAYFORM_BENCH_RUNS` and `RAYFORM_BENCH_VERSIONS` change the sizes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.filled_catalog import fill
from benchmarks.measuring import Row, command_seconds, row

RUNS = int(os.environ.get("RAYFORM_BENCH_RUNS", "100000"))
VERSIONS = int(os.environ.get("RAYFORM_BENCH_VERSIONS", "1000000"))


def run() -> list[Row]:
    """Measure commands against their bars; the baseline is a bare Python."""
    command = str(Path(sys.executable).parent / "rayform")
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RAYFORM_HOME"] = f"{folder}/home"
        for variable in ("RAYFORM_STACK", "RAYFORM_PROFILE"):
            os.environ.pop(variable, None)
        try:
            bare = statistics.median(command_seconds([sys.executable, "-c", "pass"], repeat=15)) * 1000

            def measure(arguments: str, bar: float, note: str = "") -> Row:
                durations = command_seconds([command, *arguments.split()], cwd=folder, repeat=11)
                return row(
                    f"rayform {arguments}{note}",
                    [seconds * 1000 for seconds in durations],
                    "ms",
                    bar=bar,
                    baseline=bare,
                    baseline_name="python -c pass",
                )

            command_seconds([command, "stack", "register", "other"], repeat=1, warm=0)
            rows = [
                measure("stack list", 250),
                measure("stack set default", 250),
                measure("stack describe other", 250),
                measure("runs list", 250, " (empty catalog)"),
            ]
            name, middle = fill(Path(folder) / "home" / "local" / "catalog.db", RUNS, VERSIONS)
            size = f" ({RUNS:,} runs, {VERSIONS:,} versions)"
            rows += [
                measure("runs list", 350, size),
                measure("runs list --filter status=failed --page 3", 350, size),
                measure("runs describe run-77", 350, size),
                measure("pipeline list", 350, size),
                measure(f"artifact describe {name}", 350, " (latest by name)" + size),
                measure(f"artifact describe {middle}", 350, " (by UUID)" + size),
                measure(f"artifact versions {name}", 350, size),
            ]
            return rows
        finally:
            os.environ.clear()
            os.environ.update(before)
