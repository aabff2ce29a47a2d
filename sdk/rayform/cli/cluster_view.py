"""How the command line shows a cluster: its head, its nodes and what runs on them, and the countdown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from rayform.cli.output import Column, print_pairs, print_table

if TYPE_CHECKING:
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

__all__ = ["ask_cluster", "print_cluster"]


def ask_cluster(head: ClusterHead) -> dict[str, Any]:
    """Return `cluster_overview`'s facts, or why there are none as `{"unreachable": sentence}`; closes the head."""
    from rayform_core.errors import RayformError
    from rayform_runtime.cluster.from_laptop.overview import cluster_overview

    try:
        return cluster_overview(head)
    except RayformError as error:
        return {"unreachable": error.message}
    finally:
        head.close()


def print_cluster(found: dict[str, Any]) -> None:
    """Print what `cluster_overview` found."""
    print_pairs(
        [
            ("head", "ready" if found["ready"] else f"not ready: {found['phase']}"),
            ("activity", str(found.get("activity") or "unknown")),
            ("autostop", countdown(found["autostop"])),
            ("runs", ", ".join(found["runs"]) or "none"),
            *([("starting", ", ".join(found["pending_nodes"]))] if found.get("pending_nodes") else []),
            *([("problem", found["problem"])] if found.get("problem") else []),
        ]
    )
    columns = [
        Column("node", lambda n: str(n["address"])),
        Column("role", lambda n: n["role"]),
        Column("state", lambda n: n["state"]),
        Column("cpus", lambda n: f"{n['cpus']:g}", right=True),
        Column("gpus", lambda n: f"{n['gpus']:g}", right=True),
        Column("memory", lambda n: f"{n['memory'] / 2**30:.1f} GiB", right=True),
        Column("runs", lambda n: _counted(n["runs"]) or "-", shrink=1),
    ]
    if found["nodes"]:
        click.echo()
        print_table(found["nodes"], columns)


def _counted(names: list[str]) -> str:
    """Write names that may stand many times.

    Example:
        >>> _counted(["score", "score", "train"])
        'score × 2, train'
    """
    return ", ".join(name if count == 1 else f"{name} × {count}" for name, count in Counter(names).items())


def countdown(autostop: dict[str, Any]) -> str:
    """Word the state of the autostop."""
    if not autostop.get("enabled", True):
        return "off"
    left = autostop.get("stops_in")
    if left is None:
        minutes = autostop.get("idle_minutes", "?")
        shown = f"{minutes:g}" if isinstance(minutes, int | float) else minutes
        return f"after {shown} idle minutes; not counting now"
    minutes, seconds = divmod(int(left), 60)
    return f"stops in {minutes} min {seconds:02d} s"
