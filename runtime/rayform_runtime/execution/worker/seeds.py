"""Random generators: each step starts as if the script had just been loaded, whatever ran in its worker before.

A script that seeds a generator at its top level finds that seed in each step. Without a seed, each step draws other
numbers; workers that fork from one process would otherwise all draw the same ones.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["noticing_seeds", "start_generators"]

_states: dict[str, Any] = {}
"""States of the generators that the user's code seeded while it was loaded."""


@contextlib.contextmanager
def noticing_seeds() -> Iterator[None]:
    """Notice the seeds that the code sets that is loaded in this context."""
    import random

    before = (random.getstate(), _numpy_seed(), _torch_seed())
    yield
    after = (random.getstate(), _numpy_seed(), _torch_seed())
    if after[0] != before[0]:
        _states["random"] = after[0]
    if after[1] is not None and after[1] != before[1]:
        _states["numpy"] = sys.modules["numpy.random.mtrand"].get_state()
    if after[2] is not None and after[2] != before[2]:
        _states["torch"] = sys.modules["torch"].get_rng_state()


def _numpy_seed() -> bytes | None:
    """Return the state of NumPy's own generator if it was seeded, or `None`."""
    numpy = sys.modules.get("numpy.random.mtrand")
    # NumPy forgets the entropy that it was started with once somebody calls `seed`.
    if numpy is None or getattr(numpy._rand._bit_generator, "_seed_seq", None) is not None:
        return None
    state: bytes = numpy.get_state()[1].tobytes()
    return state


def _torch_seed() -> int | None:
    """Return PyTorch's seed if a user chose it, or `None`."""
    torch = sys.modules.get("torch")
    seed: int = torch.initial_seed() if torch is not None and hasattr(torch, "initial_seed") else -1
    # PyTorch starts with 53 random bits; a user's seed is nearly always smaller.
    return seed if 0 <= seed < 1 << 32 else None


def start_generators() -> None:
    """Give each generator the state that it had when the script was loaded, or a new one if nothing seeded it."""
    if (random := sys.modules.get("random")) is not None:
        state = _states.get("random")
        random.seed() if state is None else random.setstate(state)
    if (numpy := sys.modules.get("numpy.random.mtrand")) is not None:
        state = _states.get("numpy")
        numpy.seed() if state is None else numpy.set_state(state)
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "set_rng_state"):
        state = _states.get("torch")
        torch.seed() if state is None else torch.set_rng_state(state)
