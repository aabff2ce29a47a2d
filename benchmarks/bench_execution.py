"""Pipelines on the default stack: the time and memory that the engine adds to the steps themselves."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measuring import Row, fsync_seconds, row, seconds_of

CHAIN = 50
WIDTH = 1000


def quietly(work: Callable[[], Any]) -> Callable[[], None]:
    """Return `work` without its output: the speed of a terminal isn't part of the measurement."""

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            work()

    return run


def run() -> list[Row]:
    """Measure in a fresh home, so that this machine's own runs change nothing."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("RAYFORM_HOME")
        os.environ["RAYFORM_HOME"] = folder
        try:
            return _measure(Path(folder))
        finally:
            if before is None:
                del os.environ["RAYFORM_HOME"]
            else:
                os.environ["RAYFORM_HOME"] = before


def _measure(home: Path) -> list[Row]:
    from benchmarks import execution_pipelines as pipelines

    fsync = fsync_seconds(home)
    rows = [*_chains(pipelines, fsync), _fan_out(pipelines), *_wide_map(pipelines), *_array()]
    from rayform.stacks.open import close_stacks

    close_stacks()
    return rows


def _chains(pipelines: Any, fsync: float) -> list[Row]:
    quietly(pipelines.chain)()
    times = seconds_of(quietly(pipelines.chain), repeat=7)
    cached = seconds_of(quietly(pipelines.cached_chain), repeat=7, warm=2)
    return [
        row(
            f"chain of {CHAIN} trivial steps, not cached: overhead a step",
            [t / CHAIN * 1000 for t in times],
            "ms",
            bar=2,
            baseline=fsync * 1000,
            baseline_name="one small write with fsync",
            note=f"One bare fsync took {fsync * 1000:.2f} ms then; a step's result needs several to be durable.",
        ),
        row(f"chain of {CHAIN} fully cached, inside the process", [t * 1000 for t in cached], "ms", bar=25),
    ]


def _fan_out(pipelines: Any) -> Row:
    def bare() -> None:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: time.sleep(0.5), range(20)))

    baseline = statistics.median(seconds_of(bare, repeat=3))
    times = seconds_of(quietly(pipelines.fan_out), repeat=5)
    return row(
        "20 sleeps of 0.5 s at cpus=0.1, then a join",
        times,
        "s",
        bar=0.8,
        baseline=baseline,
        baseline_name="20 threads that sleep",
    )


def _array() -> list[Row]:
    import numpy as np

    from benchmarks import array_pipelines as pipelines

    array = np.arange(12_500_000, dtype=np.float64)

    # Keep each file until the end, as a store keeps an artifact. A deleted file gives its memory pages back, and a
    # virtual machine writes to such pages in a third of the time that new pages take.
    with tempfile.TemporaryDirectory() as folder:

        def bare() -> None:
            path = Path(folder) / f"array-{time.monotonic_ns()}.npy"
            with path.open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
            float(np.load(path, mmap_mode="r")[-1])

        baseline = statistics.median(seconds_of(bare, repeat=5))
    quietly(pipelines.number_handover)()
    with_array, dropped, without = [], [], []
    for _ in range(5):
        with_array += seconds_of(quietly(pipelines.array_handover), repeat=1, warm=0)
        dropped += seconds_of(quietly(pipelines.dropped_array_handover), repeat=1, warm=0)
        without += seconds_of(quietly(pipelines.number_handover), repeat=1, warm=0)
    over = {
        "over the same pipeline without it": (without, 0.15),
        "over the same pipeline that makes it and drops it": (dropped, None),
    }
    return [
        row(
            f"100 MB float64 array to the next step, {what}",
            [seconds - statistics.median(less) for seconds in with_array],
            "s",
            bar=bar,
            baseline=baseline,
            baseline_name="numpy.save, fsync and load of it in one process, its file kept",
        )
        for what, (less, bar) in over.items()
    ]


def _peak_of_children(stop: threading.Event, peaks: list[int]) -> None:
    """Sample the memory of this process and its children while `stop` isn't set."""
    import psutil

    me = psutil.Process()
    while not stop.wait(0.1):
        total = me.memory_info().rss
        for child in me.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
        peaks.append(total)


def _wide_map(pipelines: Any) -> list[Row]:
    quietly(lambda: pipelines.wide_map(100))()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stop, peaks = threading.Event(), list[int]()
    watcher = threading.Thread(target=_peak_of_children, args=(stop, peaks))
    watcher.start()
    try:
        times = seconds_of(quietly(lambda: pipelines.wide_map(WIDTH)), repeat=3, warm=0)
    finally:
        stop.set()
        watcher.join()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        row(f"{WIDTH}-wide map of trivial steps", times, "s", bar=4),
        row(
            f"{WIDTH}-wide map: growth of the scheduler's memory over a 100-wide one",
            [grown],
            "MB",
            bar=30,
            note=f"All processes together peaked at {max(peaks, default=0) / 1e6:.0f} MB.",
        ),
    ]


if __name__ == "__main__":
    subprocess.run([sys.executable, "-m", "benchmarks", "execution"], check=True)
