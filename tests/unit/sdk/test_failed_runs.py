"""The error of a run that failed."""

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
    ("kind", "in_images", "message"),
    [
        ("ModuleNotFoundError", True, r"ImageSpec\(requirements=.*new run"),
        ("ModuleNotFoundError", False, "rayform runs resume r"),
        ("ValueError", True, "rayform runs resume r"),
    ],
)
def test_for_a_module_that_an_image_lacks_the_hint_names_the_image(
    kind: str, in_images: bool, message: str
) -> None:
    """A resumed run keeps its images, so the hint asks for a new run."""
    request: Any = SimpleNamespace(run_name="r", only=None, spec=SimpleNamespace(steps=[], image=None))
    outcome = RunOutcome(new_id(), RunStatus.FAILED, {"s": StepError(kind, "No module named 'numpy'")})
    error = failed_run_error(request, outcome, shown=True, in_images=in_images)
    with pytest.raises(type(error), match=message):
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
    ("of_step", "of_pipeline", "requirements"),
    [
        (["numpy", "scikit-learn>=1.5"], None, "numpy 'scikit-learn>=1.5'"),
        (None, ["numpy"], "numpy"),
        ("my needs.txt", ["numpy"], "-r 'my needs.txt'"),
        (None, "pyproject", "-e ."),
    ],
)
def test_a_stack_without_images_asks_to_install_their_requirements(
    only: Any, key: str, again: str, of_step: Any, of_pipeline: Any, requirements: str
) -> None:
    """If the stack builds no images, the user installs their requirements."""
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
        f"`pip install {requirements}`, then {again}."
    )
