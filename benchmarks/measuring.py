"""What benchmarks share: repeated timings, rows with bars, and facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["command_seconds", "machine_facts", "row", "seconds_of", "write_results"]

Row = dict[str, Any]


def row(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    bar: float | None = None,
    baseline: float | None = None,
    baseline_name: str = "",
    note: str = "",
) -> Row:
    """Return one result.

    Args:
        name: what was measured.
        values: one for each repetition; the median counts, and the best is shown next to it.
        unit: such as `"s"`, `"ms"`, `"MB"`.
        bar: the most that the median may be, in `unit`.
        baseline: the same work without Rayform, measured in the same run, in `unit`.
        baseline_name: what the baseline is.
        note: what a reader should know about the number.
    """
    value = statistics.median(values)
    return {
        "name": name,
        "value": round(value, 4),
        "best": round(min(values), 4),
        "unit": unit,
        "bar": bar,
        "met": None if bar is None else value <= bar,
        "met_at_best": None if bar is None else min(values) <= bar,
        "baseline": None if baseline is None else round(baseline, 4),
        "baseline_name": baseline_name,
        "ratio": None if not baseline else round(value / baseline, 2),
        "repetitions": len(values),
        "note": note,
    }


def seconds_of(work: Callable[[], object], *, repeat: int = 5, warm: int = 1) -> list[float]:
    """Return how long `work` took, `repeat` times, after `warm` calls that don't count."""
    for _ in range(warm):
        work()
    durations = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        durations.append(time.perf_counter() - started)
    return durations


def command_seconds(
    command: Sequence[str], *, repeat: int = 7, warm: int = 2, cwd: str | Path | None = None
) -> list[float]:
    """Return how long a whole command took, `repeat` times.

    Raises:
        subprocess.CalledProcessError: it failed.
    """

    def run() -> None:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stdout + done.stderr)
            done.check_returncode()

    return seconds_of(run, repeat=repeat, warm=warm)


def fsync_seconds(folder: Path, count: int = 20) -> float:
    """Return the seconds that one small durable write takes in a folder; each durable step makes several of them."""
    durations = []
    for index in range(count):
        path = folder / f"fsync-{index}"
        started = time.perf_counter()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"x" * 100)
        os.fsync(descriptor)
        os.close(descriptor)
        durations.append(time.perf_counter() - started)
        path.unlink()
    return statistics.median(durations)


def machine_facts() -> dict[str, Any]:
    """Return the facts about this machine that a reader needs to judge the numbers."""
    with tempfile.TemporaryDirectory() as folder:
        fsync = fsync_seconds(Path(folder))
    cpu = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "fsync_ms": round(fsync * 1000, 3),
    }


def write_results(folder: Path, name: str, rows: list[Row], facts: dict[str, Any]) -> Path:
    """Write a benchmark's rows as JSON and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": facts, "results": rows}, indent=2, default=str) + "\n")
    return path
