"""A stack's name is checked against what is registered before a deploy spends money under it."""

from __future__ import annotations

import pytest

from rayform import stacks
from rayform_core.errors import ConflictError


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))


def test_free_name():
    """A name that nobody has is free."""
    stacks.refuse_taken_name("prod", None)


@pytest.mark.parametrize("reference", [None, "prod-22222222"])
def test_name_of_another_deployment(reference):
    """The name of another stack is refused, whether this one was planned or not."""
    stacks.register_deployed("prod", {"reference": "prod-11111111"})
    with pytest.raises(ConflictError, match="Another registered stack has the name"):
        stacks.refuse_taken_name("prod", reference)


def test_own_name():
    """Deploying the same stack again is no clash."""
    stacks.register_deployed("prod", {"reference": "prod-11111111"})
    stacks.refuse_taken_name("prod", "prod-11111111")
