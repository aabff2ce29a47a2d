"""Requests to the local fork server, and its answers: one frame per message."""

from __future__ import annotations

from typing import NamedTuple

from rayform_runtime.execution.local.launcher import RunCode

__all__ = [
    "Answer",
    "Quit",
    "Ready",
    "Request",
    "RunServerRequest",
    "RunServerStarted",
    "WorkerEnded",
    "WorkerRequest",
    "WorkerStarted",
]


class WorkerRequest(NamedTuple):
    """Start a worker. Two descriptors go along: its task socket and its output pipe."""

    slot: int
    environment: dict[str, str]


class RunServerRequest(NamedTuple):
    """Fork a run server. Two descriptors go along: its control socket and its output pipe."""

    code: RunCode


class Quit(NamedTuple):
    """Let the workers end by themselves, then end."""


class Ready(NamedTuple):
    """The imports are done; `obstacle` is why workers can't be forked from this server."""

    obstacle: str | None


class RunServerStarted(NamedTuple):
    """The run server that was asked for runs."""

    pid: int


class WorkerStarted(NamedTuple):
    """A worker runs."""

    slot: int
    pid: int


class WorkerEnded(NamedTuple):
    """A worker has ended, with its status as `os.waitpid` returns it."""

    slot: int
    pid: int
    status: int


Request = WorkerRequest | RunServerRequest | Quit
Answer = Ready | RunServerStarted | WorkerStarted | WorkerEnded
