"""Prints a cluster: its head, its nodes and what runs on them, and the countdown of the autostop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rayform.cli.output import Column, echo, print_pairs, print_table

if TYPE_CHECKING:
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

__all__ = ["ask_cluster", "print_cluster"]


def ask_cluster(head: ClusterHead) -> dict[str, Any]:
    """Return `cluster_overview`, or the reason why there is none as `{"unreachable": sentence}`; close the head."""
    from rayform_core.errors import RayformError
    from rayform_runtime.cluster.from_laptop.overview import cluster_overview

    try:
        return dict(cluster_overview(head))
    except RayformError as error:
        return {"unreachable": error.message}
    finally:
        head.close()


def print_cluster(overview: Mapping[str, Any]) -> None:
    """Print the answer of `cluster_overview`."""
    print_pairs(
        [
            ("head", "ready" if overview["ready"] else f"not ready: {overview['phase']}"),
            ("activity", str(overview.get("activity") or "unknown")),
            ("autostop", countdown(overview["autostop"])),
            ("runs", ", ".join(overview["runs"]) or "none"),
            *([("starting", ", ".join(overview["pending_nodes"]))] if overview.get("pending_nodes") else []),
            *([("problem", overview["problem"])] if overview.get("problem") else []),
        ]
    )
    columns: list[Column[Mapping[str, Any]]] = [
        Column("node", lambda n: str(n["address"])),
        Column("role", lambda n: n["role"]),
        Column("state", lambda n: n["state"]),
        Column("cpus", lambda n: f"{n['cpus']:g}", right=True),
        Column("gpus", lambda n: f"{n['gpus']:g}", right=True),
        Column("memory", lambda n: f"{n['memory'] / 2**30:.1f} GiB", right=True),
        Column("runs", lambda n: _counted(n["runs"]) or "-", shrink=1),
    ]
    if overview["nodes"]:
        echo()
        print_table(overview["nodes"], columns)


def _counted(names: list[str]) -> str:
    """Join names; a repeated name appears once, with its count.

    Example:
        >>> _counted(["score", "score", "train"])
        'score × 2, train'
    """
    return ", ".join(name if count == 1 else f"{name} × {count}" for name, count in Counter(names).items())


def countdown(autostop: Mapping[str, Any]) -> str:
    """Describe the state of the autostop in words."""
    if not autostop.get("enabled", True):
        return "off"
    left = autostop.get("stops_in")
    if left is None:
        minutes = autostop.get("idle_minutes", "?")
        text = f"{minutes:g}" if isinstance(minutes, int | float) else minutes
        return f"after {text} idle minutes; not counting now"
    minutes, seconds = divmod(int(left), 60)
    return f"stops in {minutes} min {seconds:02d} s"
