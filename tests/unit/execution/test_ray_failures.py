"""What Ray's exceptions mean for a step."""

import pytest

pytest.importorskip("ray")

from ray import exceptions

from rayform_runtime.execution.on_ray.failures import IMAGE_ERROR_MARK, ContainerEnd, explain

CRASH = exceptions.WorkerCrashedError()


def explained(error, **facts):
    return explain(error, **{"exit_code": None, "detail": "", "node": None, **facts})


@pytest.mark.parametrize(
    "kind", ["RegistryRefused", "ImageMissing", "DockerMissing", "VersionMismatch", "DiskFull"]
)
def test_an_image_that_can_not_be_had_is_named(kind):
    """The plugin's own sentence is found in Ray's traceback, and no retry is ours to make."""
    text = f"Failed to set up\nTraceback:\n  boom\nStepImageError: {IMAGE_ERROR_MARK}[{kind}] Image 'x' can't be had.\n"
    failure = explained(exceptions.RuntimeEnvSetupError(text))
    assert (failure.error.type, failure.error.message) == (kind, "Image 'x' can't be had.")
    assert not failure.elsewhere and not failure.retryable


def test_a_lost_node_is_tried_elsewhere():
    """A dead node's cause becomes the restart's."""
    failure = explained(CRASH, node="Node 10.0.0.2 was lost: terminated.")
    assert failure.elsewhere and failure.error.type == "NodeLost" and "10.0.0.2" in failure.error.message


def test_a_container_killed_for_memory_says_so():
    """The container's own end tells memory from other signals."""
    failure = explained(CRASH, container=ContainerEnd(137, True))
    assert failure.error.type == "OutOfMemory" and not failure.process_died


def test_an_exit_code_is_told_and_not_tried_again():
    """A step that ends its own process did so on purpose."""
    for failure in (explained(CRASH, exit_code=7), explained(CRASH, container=ContainerEnd(7))):
        assert "exit code 7" in failure.error.message and not failure.process_died


def test_a_process_ended_by_a_signal_is_tried_once_more():
    """A segmentation fault may be the machine's."""
    failure = explained(CRASH, container=ContainerEnd(139))
    assert failure.process_died and "signal 11" in failure.error.message


def test_rays_memory_monitor_is_out_of_memory():
    """What Ray kills for memory is not a crash."""
    assert (
        explained(
            exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")
        ).error.type
        == "OutOfMemory"
    )
