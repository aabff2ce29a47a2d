"""Runs the benchmarks: `python -m benchmarks [NAME …]`.

Each `benchmarks/bench_NAME.py` has a function `run() -> list[dict]`, whose rows `measuring.row` makes. Prints a table,
and writes `benchmarks/out/NAME.json`. The exit code is 1 if a benchmark itself failed. A missed bar doesn't change it:
on a busy machine, a user has to judge what a missed bar means.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine_facts, write_results

HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as text."""

    def text(value: object) -> str:
        return "" if value is None else f"{value:g}" if isinstance(value, float | int) else str(value)

    head = ("", "name", "value", "best", "unit", "bar", "baseline", "ratio")
    lines = [head]
    for one in rows:
        met = "" if one.get("met") is None else "ok" if one["met"] else "MISS"
        lines.append((met, *(text(one.get(key)) for key in head[1:])))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)


def main(selection: list[str]) -> int:
    available = names()
    unknown = [name for name in selection if name not in available]
    if unknown:
        print(
            f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(available)}.", file=sys.stderr
        )
        return 2
    broken = 0
    for name in selection or available:
        facts = machine_facts()
        print(f"== {name}  (load {facts['load_average'][0]}, fsync {facts['fsync_ms']} ms)", flush=True)
        try:
            rows = importlib.import_module(f"benchmarks.bench_{name}").run()
        except Exception:  # noqa: BLE001 - one broken benchmark must not hide the others
            traceback.print_exc()
            broken += 1
            continue
        print(table(rows), flush=True)
        for one in rows:
            if one.get("note"):
                print(f"   {one['name']}: {one['note']}")
        print(f"   -> {write_results(HERE / 'out', name, rows, facts).relative_to(HERE.parent)}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
