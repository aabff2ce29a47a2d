"""EC2, as far as a cluster's head and laptops call it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypedDict

__all__ = ["EC2", "QUIET_SECONDS", "Instance", "end_workers", "instances", "workers"]

QUIET_SECONDS = 3.0
"""For how long no worker may be seen before none is left: EC2 lists a new machine some seconds after its start."""
_LOOK_EVERY = 0.5


class Instance(TypedDict):
    """An instance, by the API's names."""

    InstanceId: str
    State: Mapping[str, str]


class _Reservation(TypedDict):
    Instances: list[Instance]


class _Answer(TypedDict):
    Reservations: list[_Reservation]


class _Paginator(Protocol):
    def paginate(self, *, Filters: Sequence[Mapping[str, object]]) -> Iterable[_Answer]: ...  # noqa: N803


class EC2(Protocol):
    """A boto3 client of EC2."""

    def describe_instances(self, *, InstanceIds: Sequence[str]) -> _Answer: ...  # noqa: N803

    def start_instances(self, *, InstanceIds: Sequence[str]) -> object: ...  # noqa: N803

    def stop_instances(self, *, InstanceIds: Sequence[str]) -> object: ...  # noqa: N803

    def terminate_instances(self, *, InstanceIds: Sequence[str]) -> object: ...  # noqa: N803

    def get_paginator(self, name: str) -> _Paginator: ...


def instances(answer: _Answer) -> list[Instance]:
    """Return the instances of an answer."""
    return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]


def workers(ec2: EC2, stack_reference: str, head: str) -> list[str]:
    """Return the IDs of a cluster's machines that aren't terminated or about to be, without the head's.

    Each machine that the launch templates start has the tag, also one that Ray hasn't tagged as its worker yet.
    """
    filters = [
        {"Name": "tag:ray-cluster-name", "Values": [stack_reference]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    ids = [instance["InstanceId"] for page in pages for instance in instances(page)]
    return [machine for machine in ids if machine != head]


def end_workers(
    ec2: EC2,
    stack_reference: str,
    head: str,
    *,
    can_start_more: Callable[[], bool],
    report: Callable[[int], None] = lambda _: None,
) -> None:
    """Terminate a cluster's workers until none is left, also those that the head starts meanwhile.

    Args:
        ec2: a client of EC2.
        stack_reference: the stack, whose tag the workers have.
        head: the head's ID.
        can_start_more: whether the head's autoscaler may still start workers; asked before each look.
        report: called with the number of workers that are about to end.
    """
    quiet_since: float | None = None
    while True:
        growing = can_start_more()
        if ids := workers(ec2, stack_reference, head):
            report(len(ids))
            ec2.terminate_instances(InstanceIds=ids)
        if ids or growing:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= QUIET_SECONDS:
            return
        time.sleep(_LOOK_EVERY)
