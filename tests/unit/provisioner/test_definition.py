# ruff: noqa: E501
"""Stack definitions: what they accept, where their errors point, the published schema, the presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.definitions import KEY

from rayform_core.errors import NotFoundError
from rayform_provisioner.definitions.definition import (
    StackDefinition,
    json_schema,
    load_definition,
    parse_definition,
)
from rayform_provisioner.definitions.located import DefinitionError
from rayform_provisioner.definitions.presets import PRESETS, preset

ROOT = Path(__file__).resolve().parents[3]
MINIMAL = "name: demo\nregion: eu-central-1\nowner: me\n"
EXISTING = """network:
  existing:
    vpc_id: vpc-0123456789abcdef0
    head_subnet_id: subnet-0123456789abcdef0
    node_subnet_ids: [subnet-0123456789abcdef1]
    database_subnet_ids: [subnet-0123456789abcdef2, subnet-0123456789abcdef3]
"""


def problems(text):
    with pytest.raises(DefinitionError) as caught:
        parse_definition(text, "stack.yaml")
    return caught.value.problems


def test_minimal_definition_needs_name_region_and_owner():
    """Three keys make a definition; everything else has a default."""
    definition = parse_definition(MINIMAL)
    assert (definition.catalog.postgres_version, definition.compute.head.disk_gb) == ("16", 50)


def test_published_schema_is_the_models_own():
    """The JSON schema in docs is what the models say."""
    published = json.loads((ROOT / "docs" / "schemas" / "stack.schema.json").read_text())
    assert published == json_schema()


def test_every_key_of_the_schema_says_what_it_is():
    """Editors have something to show for every key."""
    schema = json_schema()
    for name, part in [("stack", schema), *schema["$defs"].items()]:
        for key, value in part["properties"].items():
            referred = schema["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
            assert value.get("description") or referred.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_and_commented(name):
    """What `rayform stack init` writes is valid, and says what its parts are for."""
    text = preset(name, stack="mine", region="us-west-2", owner="a team", allow=("203.0.113.7/32",))
    definition = parse_definition(text)
    assert (definition.name, definition.region) == ("mine", "us-west-2")
    assert definition.compute.workers
    assert text.count("#") > 8


def test_unknown_preset_names_those_there_are():
    """A preset that doesn't exist is an error with its neighbours."""
    with pytest.raises(NotFoundError, match="small"):
        preset("smal")


@pytest.mark.parametrize(
    ("text", "line", "column", "where", "says"),
    [
        (MINIMAL + "regoin: x\n", 4, 1, "regoin", "Did you mean 'region'"),
        ("name: Demo\nregion: eu-central-1\nowner: me\n", 1, 7, "name", "demo"),
        (MINIMAL + "compute:\n  ray_version: 2.60\n", 5, 16, "compute.ray_version", 'quotes: "2.6"'),
        (MINIMAL + "compute:\n  workers:\n    gpu: {instance_type: g5.xlarge, min: 3, max: 1}\n", 6, 50, "compute.workers.gpu.max", "3 or more"),
        (MINIMAL + "compute:\n  workers:\n    GPU: {instance_type: g5.xlarge}\n", 6, 5, "compute.workers.GPU", "lower-case"),
        (MINIMAL + "compute:\n  workers:\n    gpu: {instance_type: g5.xlarge, gpu: 1}\n", 6, 37, "compute.workers.gpu.gpu", "'gpus'"),
        (MINIMAL + "network:\n  cidr: 10.0.0.0/8\n", 5, 9, "network.cidr", "/16 to /24"),
        (MINIMAL + "network:\n  cidr: 8.8.0.0/16\n", 5, 9, "network.cidr", "private"),
        (MINIMAL + "network:\n  allowed_ingress_cidrs: [0.0.0.0/0]\n", 5, 26, "network.allowed_ingress_cidrs", "your own"),
        (MINIMAL + "network:\n  private_nodes: yes please\n", 5, 18, "network.private_nodes", "true or false"),
        (MINIMAL + "catalog:\n  storage_gb: 5\n", 5, 15, "catalog.storage_gb", "20 or more"),
        (MINIMAL + "catalog:\n  storage_gb: 200\n  max_storage_gb: 100\n", 6, 19, "catalog.max_storage_gb", "200 or more"),
        (MINIMAL + "catalog: 5\n", 4, 10, "catalog", "group of keys"),
        (MINIMAL + "state: {backend: s3}\n", 4, 8, "state", "bucket"),
        (MINIMAL + "state: {backend: gcs}\n", 4, 18, "state.backend", "'local' or 's3'"),
        (MINIMAL + "zones: [us-east-1a, us-east-1b]\n", 4, 8, "zones", "eu-central-1a"),
        (MINIMAL + "zones: eu-central-1a\n", 4, 8, "zones", "list"),
        (MINIMAL + "tags: {'aws:x': y}\n", 4, 7, "tags", "prefix"),
        (MINIMAL + "catalog:\n  storage_gb: 200\n  max_storage_gb: 205\n", 6, 19, "catalog.max_storage_gb", "220 or more"),
        (MINIMAL + f"catalog:\n  kms_key_arn: {KEY.replace('eu-central', 'us-east')}\n", 5, 16, "catalog.kms_key_arn", "Name a key of eu-central-1"),
        (MINIMAL + f"artifact_store:\n  kms_key_arn: {KEY.replace('eu-central', 'us-east')}\n", 5, 16, "artifact_store.kms_key_arn", "us-east-1"),
        (MINIMAL + f"container_registry:\n  kms_key_arn: {KEY.replace('eu-central', 'us-east')}\n", 5, 16, "container_registry.kms_key_arn", "us-east-1"),
        (MINIMAL + EXISTING + "  private_nodes: true\n", 6, 5, "network.existing", "Leave it out"),
        (MINIMAL + EXISTING + "  cidr: 10.1.0.0/16\n  private_nodes: true\n", 6, 5, "network.existing", "no cidr and no private_nodes"),
        (MINIMAL + EXISTING + "zones: [eu-central-1a, eu-central-1b]\n", 10, 8, "zones", "Leave `zones` out"),
        (MINIMAL + EXISTING.replace("def2", "def3"), 9, 26, "network.existing.database_subnet_ids", "twice"),
        ("region: eu-central-1\nowner: me\n", 1, 1, "name", "Add `name"),
        ("", 1, 1, "name", "Add `name"),
        ("- a\n- b\n", 1, 1, "", "group of keys"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what_would_be_right(text, line, column, where, says):
    """A wrong value is reported with line, column, key and what would be right."""
    found = problems(text)
    assert any(
        (p.mark.line, p.mark.column, p.where) == (line, column, where) and says in f"{p.message} {p.hint}"
        for p in found
    ), found


def test_all_problems_are_reported_at_once():
    """Users see every mistake at once, in the file's order."""
    found = problems("name: X\nregion: nowhere\nowner: me\ncatalog: {storage_gb: a}\n")
    assert [p.mark.line for p in found] == [1, 2, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nname: b\n", "twice"),
        ("name: [unclosed\n", "not valid YAML"),
        ("name: !!python/object/apply:os.system [ls]\n", "YAML"),
        ("1: x\n", "not text"),
        ("a: &x [1]\n" + "\n".join(f"k{i}: [*x, *x]" for i in range(3)), "no key"),
        ("a: \x00", "forbids"),
        ("x: " + "[" * 60 + "]" * 60, "too much"),
        ("x: 2026-13-45\n", "can't be read"),
        ("? [a, b]\n: c\n", "plain text"),
    ],
)
def test_hostile_or_broken_yaml_is_an_error_with_a_place(text, says):
    """Broken, hostile or endless YAML never gets further than an error that points at it."""
    found = problems(text)
    assert any(says in f"{p.message} {p.hint}" for p in found), found
    assert all(p.mark.line >= 1 and p.mark.column >= 1 for p in found)


def test_alias_bombs_end_at_once():
    """Nested aliases, which would unfold to billions of nodes, are refused."""
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 20)
    )
    assert "too much" in problems(bomb)[0].message


def test_missing_file_names_its_neighbours(tmp_path):
    """The error about a missing definition names those that exist."""
    (tmp_path / "stack.yaml").write_text(MINIMAL)
    with pytest.raises(NotFoundError, match=r"stack\.yaml"):
        load_definition(tmp_path / "stak.yaml")


def test_file_that_is_not_utf8_says_where(tmp_path):
    """A byte that is not UTF-8 is pointed at."""
    path = tmp_path / "stack.yaml"
    path.write_bytes(b"name: demo\nowner: \xff\n")
    with pytest.raises(DefinitionError) as caught:
        load_definition(path)
    assert (caught.value.problems[0].mark.line, caught.value.problems[0].mark.column) == (2, 8)


@pytest.mark.parametrize(
    ("written", "ranges"),
    [
        ("[203.0.113.7]", ["203.0.113.7/32"]),
        ("[203.0.113.0/255.255.255.0, 198.51.100.4/32]", ["203.0.113.0/24", "198.51.100.4/32"]),
    ],
)
def test_addresses_and_netmasks_are_ranges(written, ranges):
    """One address, or a range with a netmask, is passed on in the one form that the cloud knows."""
    definition = parse_definition(
        MINIMAL + f"network:\n  allowed_ingress_cidrs: {written}\n  cidr: 10.1.0.0/255.255.0.0\n"
    )
    assert (definition.network.allowed_ingress_cidrs, definition.network.cidr) == (ranges, "10.1.0.0/16")


def test_the_same_range_in_two_forms_is_there_twice():
    """Two ways to write one range are one range."""
    (problem,) = problems(MINIMAL + "network:\n  allowed_ingress_cidrs: [203.0.113.7, 203.0.113.7/32]\n")
    assert "twice" in problem.message


def test_definition_is_frozen():
    """Nothing changes a definition after it was checked."""
    definition = parse_definition(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        definition.name = "other"
    assert isinstance(definition, StackDefinition)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL.replace("demo", "default"), "local stack"),
        (MINIMAL.replace("demo", "../../etc"), "single hyphens"),
        (MINIMAL + "network: {cidr: 127.0.0.0/16}", "not a private range"),
        (MINIMAL + "network: {cidr: 169.254.0.0/16}", "not a private range"),
        (MINIMAL + "network: {cidr: 198.18.0.0/16}", "not a private range"),
        (MINIMAL + "tags: {Team: a, team: b}", "ignores case"),
        (MINIMAL + "tags: {team: '${file(\"/etc/passwd\")}'}", "Tags take letters"),
    ],
)
def test_what_the_cloud_would_refuse_half_way_is_refused_here(text, said):
    """Names, ranges and tags that fail only in the middle of a deploy are problems of the definition."""
    (problem,) = problems(text)
    assert said in str(problem)


def test_places_are_said_once():
    """A problem names its file, its line and its column, each once."""
    with pytest.raises(DefinitionError) as caught:
        parse_definition("name: demo\nregion: eu-central-1\nowner: 7\n", "stack.yaml")
    assert str(caught.value.why).startswith("stack.yaml: line 3, column 8: owner: ")
