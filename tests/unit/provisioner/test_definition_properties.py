"""500 valid definitions render to sound JSON; 500 invalid ones are refused with a place in the file."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from support.definitions import definitions, spoilt_definitions

from rayform_provisioner.aws.costs import estimate
from rayform_provisioner.clouds import Resolution
from rayform_provisioner.definitions.definition import parse_definition
from rayform_provisioner.definitions.located import DefinitionError
from rayform_provisioner.terraform.render import render, to_json

LIMITS = settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def resolution(definition):
    """What the cloud would have decided."""
    images = dict.fromkeys(("head", *definition.compute.workers), "ami-0123456789abcdef0")
    return Resolution(
        "demo-1a2b3c4d",
        "ssh-ed25519 AAAA demo",
        ("eu-central-1a", "eu-central-1b"),
        images,
        wheel="rayform.whl",
    )


@LIMITS
@given(definitions())
def test_valid_definitions_render_the_same_twice(data):
    """Every valid definition survives YAML and renders to the same text each time, with a cost."""
    definition = parse_definition(yaml.safe_dump(data, allow_unicode=True))
    first = to_json(render(definition, resolution(definition)))
    assert first == to_json(render(definition, resolution(definition)))
    assert json.loads(first)["module"]["compute"]["head"]["ami"] == "ami-0123456789abcdef0"
    cost = estimate(definition)
    assert 0 <= cost.idle_monthly <= cost.monthly
    assert cost.hourly <= cost.hourly_at_most


@LIMITS
@given(spoilt_definitions())
def test_invalid_definitions_are_refused_with_a_place(spoilt):
    """Every invalid definition is refused; a problem is on the line of what is wrong, or of its section."""
    data, path = spoilt
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    with pytest.raises(DefinitionError) as caught:
        parse_definition(text, "stack.yaml")
    for problem in caught.value.problems:
        assert 1 <= problem.mark.line <= text.count("\n") + 1
        assert problem.mark.column >= 1
        assert problem.message
    first = path[0]
    top = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(f"{first}:"))
    following = [n for n, line in enumerate(text.splitlines(), 1) if n > top and line[:1].isalpha()]
    end = following[0] if following else text.count("\n") + 1
    about = [p for p in caught.value.problems if p.where.split(".")[0] == first]
    assert about, caught.value.problems
    assert any(top <= p.mark.line <= end for p in about)
