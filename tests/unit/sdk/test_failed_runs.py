"""What a person is told of a run that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rayform.launching.failures import failed_run_error
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepError
from rayform_runtime.execution.interface import RunOutcome
from rayform_runtime.spec import ImageSpec, PipelineSpec, SourceRef, StepSpec


@pytest.mark.parametrize(
    ("kind", "in_images", "wanted"),
    [
        ("ModuleNotFoundError", True, r"ImageSpec\(requirements=.*new run"),
        ("ModuleNotFoundError", False, "rayform runs resume r"),
        ("ValueError", True, "rayform runs resume r"),
    ],
)
def test_a_module_that_an_image_lacks_is_told_with_the_way_to_bring_it_in(
    kind: str, in_images: bool, wanted: str
) -> None:
    """A resume keeps the images, so that it isn't what helps."""
    request: Any = SimpleNamespace(run_name="r", only=None, spec=SimpleNamespace(steps=[], image=None))
    outcome = RunOutcome(new_id(), RunStatus.FAILED, {"s": StepError(kind, "No module named 'numpy'")})
    error = failed_run_error(request, outcome, shown=True, in_images=in_images)
    with pytest.raises(type(error), match=wanted):
        raise error


@pytest.mark.parametrize(
    ("only", "key", "again"),
    [
        (None, "s", "`rayform runs resume r` runs only what is missing"),
        (None, "s[2]", "`rayform runs resume r` runs only what is missing"),
        (["s"], "s", "spin it again"),
    ],
)
@pytest.mark.parametrize(
    ("of_step", "of_pipeline", "wanted"),
    [
        (["numpy", "scikit-learn>=1.5"], None, "numpy 'scikit-learn>=1.5'"),
        (None, ["numpy"], "numpy"),
        ("my needs.txt", ["numpy"], "-r 'my needs.txt'"),
        (None, "pyproject", "-e ."),
    ],
)
def test_a_stack_without_images_asks_for_what_they_would_have_had(
    only: Any, key: str, again: str, of_step: Any, of_pipeline: Any, wanted: str
) -> None:
    """Where no image is built, its requirements are the person's own to install."""
    source = SourceRef(module="m", qualname="s")
    image, shared = (r and ImageSpec(requirements=r) for r in (of_step, of_pipeline))
    other = ImageSpec(requirements=["other"])
    steps = [
        StepSpec(key="s", name="s", source=source, image=image),
        StepSpec(key="t", name="t", source=source, image=other),
    ]
    request: Any = SimpleNamespace(
        run_name="r", only=only, spec=PipelineSpec(name="p", source=source, steps=steps, image=shared)
    )
    errors = {key: StepError("ModuleNotFoundError", "No module named 'sklearn'")}
    error = failed_run_error(request, RunOutcome(new_id(), RunStatus.FAILED, errors), shown=True)
    assert error.hint == (
        "This stack runs steps in your own environment and builds no images: "
        f"`pip install {wanted}`, then {again}."
    )
