"""Whether steps can be placed, and the sentences that explain why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.errors import UsageError
from rayform_runtime.cluster.machine.node_groups import NodeGroup
from rayform_runtime.execution.on_ray.placement import (
    NodeResources,
    check_placeable,
    describe,
    fits,
    ray_options,
    ray_resources,
    waiting_for,
)
from rayform_runtime.spec import PipelineSpec, Resources, SourceRef, StepSpec

HEAD = NodeResources("10.0.0.1", {"CPU": 2.0, "memory": 4e9})
GPU_GROUP = NodeGroup("gpu", "g4dn.xlarge", {"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0}, 0, 2)


def pipeline(**resources):
    source = SourceRef(module="m", qualname="f")
    step = StepSpec(key="train", name="train", source=source, resources=Resources(**resources))
    return PipelineSpec(name="p", source=source, steps=[step])


def test_a_group_that_can_grow_is_enough():
    """A step that no node holds is accepted when a group's node would hold it."""
    check_placeable(pipeline(gpus=1, accelerator_type="T4"), [HEAD], [GPU_GROUP])


def test_the_refusal_names_what_was_asked_and_what_there_is():
    """Step, request, largest node and each group's limit stand in the error."""
    with pytest.raises(UsageError) as refused:
        check_placeable(
            pipeline(gpus=4), [HEAD], [GPU_GROUP, NodeGroup("none", "m6i.large", {"CPU": 2.0}, 0, 0)]
        )
    text = str(refused.value)
    for part in ("'train'", "4 GPUs", "0 GPUs", "'gpu' (g4dn.xlarge, up to 2)", "its max is 0"):
        assert part in text


def test_fractions_memory_and_custom_resources_are_rays_own():
    """Names and units are Ray's."""
    request = ray_resources(Resources(cpus=0.5, gpus=0.25, memory=2**30, custom={"fast_disk": 1}))
    assert request == {"CPU": 0.5, "GPU": 0.25, "memory": float(2**30), "fast_disk": 1}
    assert describe(request) == "0.5 CPUs, 0.25 GPUs, 1 GiB of memory, 1 fast_disk"


def test_a_queued_step_says_which_group_could_serve_it():
    """Free resources, a growing group, or neither: three sentences."""
    assert (
        waiting_for({"CPU": 1}, [HEAD], [GPU_GROUP]) == "waiting for 1 CPU to be free and a worker to start"
    )
    assert "group 'gpu'" in waiting_for({"GPU": 1}, [HEAD], [GPU_GROUP])
    assert "largest node" in waiting_for({"GPU": 8}, [HEAD], [GPU_GROUP])


amounts = st.dictionaries(st.sampled_from(["CPU", "GPU", "memory", "x"]), st.floats(0.01, 100), max_size=4)


@given(request=amounts, has=amounts)
def test_what_fits_is_never_refused(request, has):
    """The check agrees with plain comparison, resource by resource."""
    assert fits(request, has) == all(has.get(name, 0.0) + 1e-9 >= amount for name, amount in request.items())


def test_resources_become_the_options_of_a_task():
    """Ray has one option for each kind, and one for all others together."""
    request = {"CPU": 0.1, "GPU": 1.0, "memory": 2.0**30, "accelerator_type:T4": 0.001, "license": 2.0}
    assert ray_options(request) == {
        "num_cpus": 0.1, "num_gpus": 1.0, "memory": 2**30, "accelerator_type": "T4", "resources": {"license": 2.0},
    }  # fmt: skip
    assert ray_options({}) == {"num_cpus": 0, "num_gpus": 0}
