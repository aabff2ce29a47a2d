"""Accounting of CPUs, memory and GPUs on one machine."""

from __future__ import annotations

import pytest

from rayform_core.errors import UsageError
from rayform_runtime.execution.local.resources import LocalResources, machine_cpus, machine_memory
from rayform_runtime.spec import PipelineSpec, Resources, SourceRef, StepSpec

SOURCE = SourceRef(module="m", qualname="f")


def resources(**facts: object) -> LocalResources:
    return LocalResources(**{"cpus": 2, "memory": 1000, "gpu_ids": ["0", "1"], **facts})  # type: ignore[arg-type]


def test_cpus_are_shared_in_fractions() -> None:
    """Two CPUs hold twenty tenths; when all are given back, both CPUs are free again."""
    have = resources()
    grants = [have.take(Resources(cpus=0.1)) for _ in range(20)]
    assert all(grants)
    assert have.take(Resources(cpus=0.1)) is None
    for grant in grants:
        assert grant is not None
        have.give_back(grant)
    assert have.take(Resources(cpus=2)) is not None


def test_gpus_go_to_one_task_or_are_shared_in_fractions() -> None:
    """Fractions fill one GPU before the next; a request for whole GPUs gets only GPUs that are free as a whole."""
    have = resources()
    half = have.take(Resources(cpus=0, gpus=0.5))
    other = have.take(Resources(cpus=0, gpus=0.5))
    assert half is not None
    assert other is not None
    assert half.gpus == other.gpus == (("0", 0.5),)
    whole = have.take(Resources(cpus=0, gpus=1))
    assert whole is not None
    assert whole.environment(machine_has_gpus=True) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert have.take(Resources(cpus=0, gpus=0.1)) is None
    have.give_back(half)
    assert have.take(Resources(cpus=0, gpus=1)) is None
    have.give_back(other)
    have.give_back(whole)
    both = have.take(Resources(cpus=0, gpus=2))
    assert both is not None
    assert both.environment(machine_has_gpus=True) == {"CUDA_VISIBLE_DEVICES": "0,1"}


def test_step_without_gpus_sees_none_where_the_machine_has_some() -> None:
    """A task sees only its own GPUs, as on a cluster; a machine without GPUs sets no variable."""
    grant = resources().take(Resources())
    assert grant is not None
    assert grant.environment(machine_has_gpus=True) == {"CUDA_VISIBLE_DEVICES": ""}
    assert grant.environment(machine_has_gpus=False) == {}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Resources(cpus=3), "3 CPUs, and there are 2"),
        (Resources(memory=2000), "1.953 KiB of memory"),
        (Resources(gpus=3), "3 GPUs, and there are 2"),
        (Resources(gpus=1.5), "only whole GPUs"),
        (Resources(custom={"tpu": 1}), "custom resource 'tpu'"),
    ],
)
def test_step_that_never_fits_is_refused_with_numbers(asked: Resources, message: str) -> None:
    """The error names the step, its request, and the total."""
    step = StepSpec(key="train", name="f", source=SOURCE, resources=asked)
    with pytest.raises(UsageError, match="Step 'train'") as caught:
        resources().check(PipelineSpec(name="p", source=SOURCE, steps=[step]))
    assert message in str(caught.value)


def test_machine_has_something() -> None:
    """The machine's own numbers are positive."""
    assert machine_cpus() >= 1
    assert machine_memory() > 1 << 20
