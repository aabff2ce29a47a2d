"""What a person is told of a run that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rayform.failing import failed_run_error
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepError
from rayform_runtime.execution.interface import RunOutcome


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
    request: Any = SimpleNamespace(run_name="r")
    outcome = RunOutcome(new_id(), RunStatus.FAILED, {"s": StepError(kind, "No module named 'numpy'")})
    error = failed_run_error(request, outcome, shown=True, in_images=in_images)
    with pytest.raises(type(error), match=wanted):
        raise error
