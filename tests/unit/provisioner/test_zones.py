# ruff: noqa: E501
"""Zones of a stack: what is deployed stays where it is, whatever the definition's order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_provisioner.aws.machines import machines
from rayform_provisioner.aws.quotas import quota_of
from rayform_provisioner.aws.zones import choose_zones, slots_of
from rayform_provisioner.definitions.definition import parse_located
from rayform_provisioner.definitions.problems import Problems
from rayform_provisioner.stack_folder import StackRecord

ALL = [f"eu-central-1{letter}" for letter in "abcdefgh"]
subsets = st.lists(st.sampled_from(ALL), min_size=2, max_size=8, unique=True)


def record(zones, slots=None):
    return StackRecord(
        name="demo", reference="demo-1a2b3c4d", region="eu-central-1", target="aws", created="", ssh_public_key="",
        zones=zones, zone_slots=slots or {},
    )  # fmt: skip


def chosen(zones, offers, deployed=None):
    """The zones for a definition with these zones, a head and one worker group."""
    text = "name: demo\nregion: eu-central-1\nowner: me\ncompute: {workers: {gpu: {instance_type: g5.xlarge, gpus: 1}}}\n"
    loaded = parse_located(text + (f"zones: {zones}\n" if zones else ""))
    definition, problems = loaded.definition, Problems(loaded)
    return choose_zones(definition, ALL, machines(definition), offers, deployed, problems)


EVERYWHERE = {"m6i.large": set(ALL), "g5.xlarge": set(ALL)}


@given(st.lists(subsets, min_size=1, max_size=6))
def test_no_change_of_zones_moves_a_zone_that_stays(steps):
    """Deploy after deploy, a zone keeps its number, and no two zones ever share one."""
    deployed = None
    for zones in steps:
        slots = slots_of(zones, deployed)
        assert set(slots) == set(zones)
        assert len(set(slots.values())) == len(zones)
        assert set(slots.values()) <= set(range(8))
        if deployed is not None:
            for zone in zones:
                if zone in deployed.zone_slots:
                    assert slots[zone] == deployed.zone_slots[zone]
        deployed = record(zones, slots)


@given(subsets, st.data())
def test_the_order_of_zones_moves_no_head(zones, data):
    """A deployed head stays in its zone while the definition names that zone, wherever in the list."""
    head = data.draw(st.sampled_from(zones))
    deployed = record([head, *(zone for zone in zones if zone != head)])
    order = data.draw(st.permutations(zones))
    assert chosen(list(order), EVERYWHERE, deployed)[0] == head


def test_a_record_without_numbers_counts_its_zones():
    """A stack that was deployed before zones had numbers keeps its subnets."""
    assert slots_of(["eu-central-1c", "eu-central-1a"], record(["eu-central-1a", "eu-central-1b"])) == {
        "eu-central-1c": 2,
        "eu-central-1a": 0,
    }


def test_the_head_goes_to_a_zone_that_offers_its_type():
    """Of the zones that the definition names, the head's is the first with its type; the rest keep their order."""
    offers = {"m6i.large": {"eu-central-1c"}, "g5.xlarge": set(ALL)}
    assert chosen(["eu-central-1a", "eu-central-1b", "eu-central-1c"], offers) == [
        "eu-central-1c",
        "eu-central-1a",
        "eu-central-1b",
    ]


def test_without_zones_those_that_offer_the_types_are_taken():
    """The default zones are the region's first two, unless the machines' types are only elsewhere."""
    assert chosen(None, EVERYWHERE) == ["eu-central-1a", "eu-central-1b"]
    offers = {"m6i.large": {"eu-central-1b", "eu-central-1d"}, "g5.xlarge": {"eu-central-1d"}}
    assert chosen(None, offers)[0] == "eu-central-1d"


def test_without_zones_a_deployed_stack_keeps_its_own():
    """A zone that AWS adds in front changes nothing."""
    deployed = record(["eu-central-1c", "eu-central-1b"])
    assert chosen(None, EVERYWHERE, deployed) == ["eu-central-1c", "eu-central-1b"]


@pytest.mark.parametrize(
    ("instance_type", "on_demand", "spot"),
    [
        ("m6i.large", "L-1216C47A", "L-34B43A08"),
        ("im4gn.large", "L-1216C47A", "L-34B43A08"),
        ("is4gen.large", "L-1216C47A", "L-34B43A08"),
        ("i3en.large", "L-1216C47A", "L-34B43A08"),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ("trn1n.32xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("x2gd.medium", "L-7295265B", "L-E3A00192"),
        ("dl1.24xlarge", "L-6E869C2A", "L-85EED4F7"),
        ("d3.xlarge", "L-1216C47A", "L-34B43A08"),
        ("f2.6xlarge", "L-74FC7D96", "L-88CF9481"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("g5.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("gr6.4xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("u-6tb1.112xlarge", "L-43DA4232", None),
        ("u7i-12tb.224xlarge", "L-43DA4232", None),
        ("hpc7g.4xlarge", "L-F7808C92", None),
        ("mac2.metal", None, None),
    ],
)
def test_each_family_counts_against_its_own_quota(instance_type, on_demand, spot):
    """The quota of an instance type is that of its family, on demand and spot."""
    assert (quota_of(instance_type, spot=False), quota_of(instance_type, spot=True)) == (on_demand, spot)
