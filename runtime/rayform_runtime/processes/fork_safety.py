"""When a process may fork: a child has the forking thread alone, and waits for ever for any other. Linux only."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

__all__ = ["freeze_heap", "is_single_threaded", "reason_not_to_fork"]

_UNSAFE_MODULES = ("jax", "tensorflow", "grpc", "cupy", "numba.cuda")
"""Packages that warn against forking once they are imported."""

_SAFE_THREADS = ("jemalloc_bg_thd",)
"""Native threads that their library starts again in a forked child."""

_TASKS = Path("/proc/self/task")


def freeze_heap() -> None:
    """Keep the garbage collector from touching, and so copying, pages that this process shares with its children."""
    gc.freeze()
    gc.enable()


def is_single_threaded() -> bool:
    """Return whether this process has one thread, by Python's count and by the kernel's.

    The strict rule, for a process that has imported only what Rayform chose.
    """
    return threading.active_count() == 1 and len(list(_TASKS.iterdir())) == 1


def reason_not_to_fork() -> str | None:
    """Return why this process should not fork, as the end of a sentence, or `None` if it may.

    The rule for a process that has imported a user's code. It allows the threads of OpenBLAS, which nearly every
    project brings.
    """
    if threading.active_count() > 1:
        names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        return f"importing the code started threads ({', '.join(names)})"
    if native := _unsafe_native_threads():
        return f"importing the code started threads of native libraries ({', '.join(native)})"
    if unsafe := [name for name in _UNSAFE_MODULES if name in sys.modules]:
        return f"the code imports {', '.join(unsafe)}"
    return None


def _unsafe_native_threads() -> list[str]:
    """Return the names of this process's threads that a forked child would miss.

    A library whose thread pool is missing waits for it for ever (Polars, OpenMP after its first parallel region).
    OpenBLAS is safe: it starts its threads again in a child (`pthread_atfork`). NumPy and SciPy each bring a copy of
    it, and each copy has one thread fewer than there are CPUs from its import on.
    """
    try:
        tasks = [task for task in _TASKS.iterdir() if task.name != str(os.getpid())]
        names = [(task / "comm").read_text().strip() for task in tasks]
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    own_name = Path("/proc/self/comm").read_text().strip()
    others = [name for name in names if name not in _SAFE_THREADS]
    copies = {line.rpartition(" ")[2] for line in maps.splitlines() if "openblas" in line}
    # Threads of OpenBLAS have the process's own name.
    expected = len(copies) * (len(os.sched_getaffinity(0)) - 1)
    if others.count(own_name) > expected:
        return others
    return [name for name in others if name != own_name]
