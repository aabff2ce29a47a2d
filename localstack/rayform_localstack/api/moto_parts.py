"""moto's classes and state, by name: they are changed at run time, which their types don't foresee."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

__all__ = ["part", "remembering_hosts"]


def part(path: str) -> Any:
    """Return what `module:name` names inside moto (or the fork of it inside LocalStack)."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"moto.{module}"), name)


def remembering_hosts(dispatcher: Any) -> Any:
    """Let moto's dispatcher look up once which service a host name means.

    It lists its own package's folder for every request, under a lock: a fifth of the time of a small one to S3.
    """
    dispatcher.get_backend_for_host = lru_cache(maxsize=1024)(dispatcher.get_backend_for_host)
    return dispatcher
