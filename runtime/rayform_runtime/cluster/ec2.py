"""EC2, as far as a cluster's head and laptops call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypedDict

__all__ = ["EC2", "Instance", "instances", "workers"]


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


def workers(ec2: EC2, stack_reference: str) -> list[str]:
    """Return the IDs of a cluster's workers that aren't terminated."""
    filters = [
        {"Name": "tag:ray-cluster-name", "Values": [stack_reference]},
        {"Name": "tag:ray-node-type", "Values": ["worker"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    return [instance["InstanceId"] for page in pages for instance in instances(page)]
