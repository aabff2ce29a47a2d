"""The cost of the SDK before a step starts: importing the decorators, tracing, and `rayform run`."""

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


def code_times(folder: Path) -> list[float]:
    """Return the milliseconds that the digests of fifty steps take, in a project whose modules were read before."""
    from rayform_runtime.usercode.digest import ProjectSnapshot, source_digest

    for number in range(200):
        below = [child for child in (2 * number + 1, 2 * number + 2) if child < 200]
        lines = [f"import tree_{child}" for child in below] + [f"SIZE = {number}"]
        calls = f" + tree_{below[0]}.part_{{0}}(value)" if below else ""
        lines += [
            f"def part_{part}(value):\n    return value + {part}" + calls.format(part) for part in range(10)
        ]
        (folder / f"tree_{number}.py").write_text("\n".join(lines))
    steps = [f"def step_{n}():\n    return tree_0.part_{n % 10}({n})" for n in range(50)]
    (folder / "tree_steps.py").write_text("\n".join(["import tree_0", *steps]))
    import tree_steps  # type: ignore[import-not-found]

    def digests() -> None:
        snapshot = ProjectSnapshot()
        for number in range(50):
            source_digest(getattr(tree_steps, f"step_{number}"), snapshot=snapshot)

    digests()
    return [seconds * 1000 for seconds in seconds_of(digests)]


def run() -> list[Row]:
    """Measure imports and commands as whole processes, and tracing inside one process."""
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
                    "code of 50 steps in a project of 200 modules, warm",
                    code_times(Path(folder)),
                    "ms",
                    bar=30,
                ),
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
