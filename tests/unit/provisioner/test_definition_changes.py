# ruff: noqa: E501
"""Changes of a deployed stack: what RDS can't do is refused with its place; definitions of earlier rules stay readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.definitions import KEY

from rayform_provisioner.definitions.changes import major_upgrade, refuse_impossible
from rayform_provisioner.definitions.definition import parse_located
from rayform_provisioner.definitions.located import DefinitionError

MINIMAL = "name: demo\nregion: eu-central-1\nowner: me\n"
EXISTING = "existing: {host: db.example.com, secret_arn: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-AbCdEf'}"


def with_catalog(settings):
    """A definition with these settings of the catalog."""
    return parse_located(MINIMAL + f"catalog: {{{settings}}}\n")


def refused(before, after):
    """The problems of a change, by where they are."""
    try:
        refuse_impossible(with_catalog(before).definition, with_catalog(after))
    except DefinitionError as error:
        return [problem.where for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("storage_gb: 100", "storage_gb: 50", ["catalog.storage_gb"]),
        ("storage_gb: 50", "storage_gb: 100", []),
        ('postgres_version: "16"', 'postgres_version: "15"', ["catalog.postgres_version"]),
        ('postgres_version: "16.4"', 'postgres_version: "16.3"', ["catalog.postgres_version"]),
        ('postgres_version: "16.4"', 'postgres_version: "16.10"', []),
        ('postgres_version: "16.4"', 'postgres_version: "16"', []),
        ('postgres_version: "16"', 'postgres_version: "16.4"', []),
        ('postgres_version: "16.9"', 'postgres_version: "17"', []),
        ("storage_gb: 100", EXISTING, []),
        (EXISTING, "storage_gb: 50", []),
    ],
)
def test_what_rds_cannot_undo_is_refused(before, after, where):
    """A smaller disk and an older version are problems with a place; everything else passes."""
    assert refused(before, after) == where


@given(st.sampled_from(["14", "15", "16.4", "17"]), st.sampled_from(["14", "15", "16.4", "17"]))
def test_a_major_upgrade_is_one_way(before, after):
    """Between two versions there is either an upgrade, a refusal or nothing to do."""
    old, new = with_catalog(f'postgres_version: "{before}"'), with_catalog(f'postgres_version: "{after}"')
    upgrade = major_upgrade(old.definition, new.definition)
    backwards = bool(refused(f'postgres_version: "{before}"', f'postgres_version: "{after}"'))
    assert (upgrade is not None, backwards, before == after).count(True) == 1
    if upgrade:
        assert upgrade == (before.split(".")[0], after.split(".")[0])


@pytest.mark.parametrize(
    "more",
    [
        f"catalog: {{storage_gb: 50, {EXISTING}}}\n",
        "catalog: {storage_gb: 200, max_storage_gb: 205}\n",
        "tags: {'team ': vision}\n",
        f"catalog: {{kms_key_arn: '{KEY.replace('eu-central', 'us-east')}'}}\n",
        "network: {cidr: 10.9.0.0/16, existing: {vpc_id: vpc-0123456789abcdef0, head_subnet_id: subnet-0123456789abcdef0, "
        "node_subnet_ids: [subnet-0123456789abcdef0, subnet-0123456789abcdef0], "
        "database_subnet_ids: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]}}\nzones: [eu-central-1a, eu-central-1b]\n",
    ],
)
def test_a_rule_that_came_later_keeps_no_stack_from_its_destroy(more):
    """A definition that was deployed under earlier rules can still be read, so that its stack can be destroyed."""
    with pytest.raises(DefinitionError):
        parse_located(MINIMAL + more)
    assert parse_located(MINIMAL + more, applied=True).definition.name == "demo"
