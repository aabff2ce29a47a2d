"""A dynamic pipeline for tests that kill it: `dynamic_loop.py FOLDER`. Values of its steps decide about its calls."""

# A plain call has the type of the value, so that `.load()` on it is unknown to Pyright.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import random
import sys
import time
import uuid
from pathlib import Path

from rayform import StepFailedError, pipeline, step


def mark(folder: str, name: str) -> None:
    (Path(folder) / f"{name}.{uuid.uuid4()}").touch()


@step(enable_cache=False)
def draw(folder: str, name: str, most: int) -> int:
    mark(folder, name)
    time.sleep(0.02)
    return random.randint(1, most)


@step(enable_cache=False)
def work(folder: str, name: str, value: int) -> int:
    mark(folder, name)
    time.sleep(0.02)
    return value + 1


@step(enable_cache=False)
def flaky(folder: str, name: str) -> int:
    mark(folder, name)
    raise ValueError("always")


@pipeline(dynamic=True)
def loop(folder: str) -> None:
    total = 0
    for turn in range(4):
        count = draw(folder, f"draw{turn}", 4).load()
        futures = [work.submit(folder, f"work{turn}-{i}", i) for i in range(count)]
        if count % 2:
            try:
                flaky(folder, f"flaky{turn}")
            except StepFailedError:
                total += work(folder, f"rescue{turn}", 10).load()
        total += sum(future.load() for future in futures)
    work(folder, "end", total)


if __name__ == "__main__":
    loop.with_options(run_name=sys.argv[2])(sys.argv[1])
