"""The examples' own files are right: definitions, configurations, images."""

from __future__ import annotations

from pathlib import Path

from rayform.authoring.configuration import read_configuration
from rayform_provisioner.definitions.definition import parse_definition

DIGITS = Path(__file__).parents[3] / "examples" / "digits"


def test_the_digits_stack_is_a_valid_definition() -> None:
    """A head, a CPU group, and a GPU group from 0 to 1, as the demo deploys it."""
    definition = parse_definition((DIGITS / "stack.yaml").read_text())
    workers = definition.compute.workers
    assert set(workers) == {"cpu", "gpu"}
    assert (workers["gpu"].min, workers["gpu"].max, workers["gpu"].gpus) == (0, 1, 1)


def test_configurations_that_ship_are_valid() -> None:
    """The example's and the template's YAML have no unknown key."""
    assert read_configuration(DIGITS / "training.yaml").parameters == {"at_least": 0.9}
    templates = Path(__file__).parents[3] / "sdk" / "rayform" / "templates"
    assert read_configuration(templates / "starter" / "training.yaml").tags == ["starter"]
