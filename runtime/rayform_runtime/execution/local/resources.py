"""The CPUs, memory and GPUs that this machine has for steps, and which of them are free."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rayform_core.errors import UsageError
from rayform_runtime.execution.interface import StepResources
from rayform_runtime.spec import PipelineSpec, Resources

__all__ = ["Grant", "LocalResources", "machine_cpus", "machine_gpus", "machine_memory", "oom_kills"]

_EPSILON = 1e-9


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def machine_cpus() -> float:
    """Return the number of CPUs that this process may use: its affinity, within its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cpus = min(cpus, max(1.0, int(quota) / int(period)))
    return cpus


def machine_memory() -> int:
    """Return the bytes of memory of this machine, within its container's limit."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        import psutil

        total = psutil.virtual_memory().total
    limit = _read("/sys/fs/cgroup/memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def machine_gpus() -> list[str]:
    """Return the IDs of the NVIDIA GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    if not sys.platform.startswith("linux"):
        return []
    with contextlib.suppress(OSError):
        return [str(i) for i, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").iterdir()))]
    return []


def oom_kills() -> int:
    """Return how many processes the kernel has killed in this container because memory ran out."""
    for line in _read("/sys/fs/cgroup/memory.events").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0  # no control groups of version 2 here


@dataclass(frozen=True, slots=True)
class Grant:
    """What one running task holds; `gpus` are pairs of an ID and a fraction."""

    cpus: float
    memory: int
    gpus: tuple[tuple[str, float], ...] = ()
    custom: tuple[tuple[str, float], ...] = ()

    def environment(self, *, machine_has_gpus: bool) -> dict[str, str]:
        """Return the variables that show the task only its own GPUs, as Ray sets them."""
        if not machine_has_gpus:
            return {}
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpu for gpu, _ in self.gpus)}


@dataclass
class LocalResources:
    """Counts CPUs, memory and GPUs, and so decides what runs at the same time. Nothing else enforces them.

    Args:
        cpus, memory, gpu_ids: the total.
    """

    cpus: float
    memory: int
    gpu_ids: Sequence[str] = ()
    _free_cpus: float = field(init=False)
    _free_memory: int = field(init=False)
    _free_gpus: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._free_cpus = self.cpus
        self._free_memory = self.memory
        self._free_gpus = dict.fromkeys(self.gpu_ids, 1.0)

    def check(self, spec: PipelineSpec) -> None:
        """Refuse a pipeline with a step that could never start here.

        Raises:
            UsageError: names the step, its request, and the total.
        """
        for step in spec.steps:
            if problems := self._problems(step.resources):
                raise UsageError(
                    f"Step '{step.key}' can never run on this machine.",
                    why=f"It asks for {'; '.join(problems)}.",
                    hint="Ask for less, run on a stack with a cluster, or declare more in the settings of "
                    "the stack's orchestrator (`cpus`, `memory`, `gpus`).",
                )

    def _problems(self, asks: Resources) -> list[str]:
        """Return each part of a request that this machine can never meet, and why, as the rest of a sentence."""
        problems = []
        if asks.cpus > self.cpus + _EPSILON:
            problems.append(f"{asks.cpus:g} CPUs, and there are {self.cpus:g}")
        if (asks.memory or 0) > self.memory:
            problems.append(f"{_bytes(asks.memory or 0)} of memory, and there are {_bytes(self.memory)}")
        if asks.gpus > len(self.gpu_ids) + _EPSILON:
            problems.append(f"{asks.gpus:g} GPUs, and there are {len(self.gpu_ids)}")
        if asks.gpus > 1 and asks.gpus != int(asks.gpus):
            problems.append(f"{asks.gpus:g} GPUs, and only whole GPUs are possible beyond one")
        if asks.custom:
            names = ", ".join(f"'{name}'" for name in asks.custom)
            problems.append(f"the custom resource {names}, and the local orchestrator has none")
        return problems

    def take(self, asks: Resources | StepResources) -> Grant | None:
        """Reserve what a task asks for, or return `None` if it isn't free now."""
        memory = asks.memory or 0
        if asks.cpus > self._free_cpus + _EPSILON or memory > self._free_memory:
            return None
        gpus = self._choose_gpus(asks.gpus)
        if gpus is None:
            return None
        self._free_cpus -= asks.cpus
        self._free_memory -= memory
        for gpu, fraction in gpus:
            self._free_gpus[gpu] -= fraction
        return Grant(asks.cpus, memory, gpus)

    def _choose_gpus(self, asked: float) -> tuple[tuple[str, float], ...] | None:
        if asked <= 0:
            return ()
        if asked < 1:
            # Take the fullest GPU that still has room, so that whole ones stay whole.
            fitting = [(free, gpu) for gpu, free in self._free_gpus.items() if free >= asked - _EPSILON]
            return ((min(fitting)[1], asked),) if fitting else None
        whole = [gpu for gpu, free in self._free_gpus.items() if free >= 1 - _EPSILON]
        count = int(asked)
        return tuple((gpu, 1.0) for gpu in whole[:count]) if len(whole) >= count else None

    def give_back(self, grant: Grant) -> None:
        """Free what a task holds."""
        self._free_cpus = min(self.cpus, self._free_cpus + grant.cpus)
        self._free_memory += grant.memory
        for gpu, fraction in grant.gpus:
            self._free_gpus[gpu] = min(1.0, self._free_gpus[gpu] + fraction)


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"
