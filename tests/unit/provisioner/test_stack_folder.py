"""A stack's folder: where it is settled to be, and when that may change."""

from __future__ import annotations

import pytest

from rayform_core.errors import ConflictError
from rayform_provisioner.stack_folder import StackFolder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    return StackFolder("demo")


def test_a_planned_stack_is_nowhere_yet(folder):
    """After a plan that made nothing, the stack may be planned for another cloud or region, with a new reference."""
    first = folder.begin("eu-central-1", "aws")
    (folder.work / ".terraform").mkdir(parents=True)
    second = folder.begin("us-east-1", "localstack")
    assert (second.region, second.target) == ("us-east-1", "localstack")
    assert second.reference != first.reference
    assert second.ssh_public_key == first.ssh_public_key
    assert not folder.work.exists()
    assert folder.begin("us-east-1", "localstack") == second


@pytest.mark.parametrize("status", ["deploying", "deployed", "destroying"])
def test_a_stack_that_may_have_resources_stays_where_it_is(folder, status):
    """Once a deploy began, another region or cloud is refused."""
    record = folder.begin("eu-central-1", "aws")
    record.status = status
    folder.save(record)
    with pytest.raises(ConflictError, match="Stack 'demo' is in target 'aws'"):
        folder.begin("eu-central-1", "localstack")
