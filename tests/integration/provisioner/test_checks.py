# ruff: noqa: E501
"""A definition is checked against a moto server's API before Terraform starts: what can't work is a problem with a place."""

from __future__ import annotations

import json

import pytest

from rayform_provisioner.aws.account import SPOT_ROLE, disk_key_of, prepare_account
from rayform_provisioner.aws.checks import check_images, resolve
from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.machines import instance_types, machines
from rayform_provisioner.definitions.definition import parse_located
from rayform_provisioner.definitions.located import DefinitionError
from rayform_provisioner.definitions.problems import Problems
from rayform_provisioner.targets import resolve_target

pytestmark = [pytest.mark.moto, pytest.mark.timeout(120)]

REGION = "eu-central-1"
MINIMAL = f"name: demo\nregion: {REGION}\nowner: me\n"


@pytest.fixture(scope="session")
def target(endpoints):
    """The moto server."""
    return resolve_target(str(endpoints))


def problems(target, text):
    """The problems of a definition, by where they are."""
    with pytest.raises(DefinitionError) as caught:
        resolve(parse_located(text), target)
    return {problem.where: f"{problem.message} {problem.hint}" for problem in caught.value.problems}


def existing(network, **changes):
    """A definition in an existing network."""
    return MINIMAL + f"network: {{existing: {json.dumps({**network, **changes})}}}\n"


@pytest.fixture(scope="session")
def elsewhere(target):
    """A subnet of another VPC, and one without a route to the internet."""
    ec2 = client(target, "ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.78.0.0/16")["Vpc"]["VpcId"]
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.78.0.0/24", AvailabilityZone=f"{REGION}a")["Subnet"][
        "SubnetId"
    ]


def test_an_existing_network_is_taken_as_it_is(target, network):
    """The zones are those of the machines' subnets, the head's first, and nothing is wrong with it."""
    resolution = resolve(parse_located(existing(network)), target)
    assert resolution.zones == (f"{REGION}a", f"{REGION}b")
    assert resolution.warnings == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("vpc_id", "vpc-0123456789abcdef0", "no VPC 'vpc-0123456789abcdef0'"),
        ("head_subnet_id", "subnet-0123456789abcdef0", "no subnet 'subnet-0123456789abcdef0'"),
        ("node_subnet_ids.0", "subnet-0123456789abcdef0", "no subnet"),
        ("database_subnet_ids.1", "subnet-0123456789abcdef0", "no subnet"),
        ("head_subnet_id", "ELSEWHERE", "not in"),
        ("node_subnet_ids.1", "ELSEWHERE", "not in"),
        ("database_subnet_ids.0", "ELSEWHERE", "not in"),
    ],
)
def test_subnets_that_are_made_up_or_foreign_are_refused(target, network, elsewhere, key, value, says):
    """Each subnet must be there and in the VPC; the problem is at the one that isn't."""
    value = elsewhere if value == "ELSEWHERE" else value
    name, _, index = key.partition(".")
    changed = (
        value if not index else [value if i == int(index) else old for i, old in enumerate(network[name])]
    )
    found = problems(target, existing(network, **{name: changed}))
    assert says in found[f"network.existing.{key}"]


def test_a_database_needs_two_zones(target, network):
    """Two subnets of one zone are refused, unless the catalog is elsewhere."""
    ec2 = client(target, "ec2", REGION)
    second = ec2.create_subnet(
        VpcId=network["vpc_id"], CidrBlock="10.77.9.0/24", AvailabilityZone=f"{REGION}a"
    )
    one_zone = [network["head_subnet_id"], second["Subnet"]["SubnetId"]]
    text = existing(network, database_subnet_ids=one_zone)
    assert "two zones" in problems(target, text)["network.existing.database_subnet_ids"]
    catalog = "catalog: {existing: {host: db.example.com, secret_arn: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-AbCdEf'}}\n"
    assert resolve(parse_located(text + catalog), target).zones


def test_a_public_head_needs_a_public_subnet(target, network):
    """Without a route to an internet gateway the head needs `private_head`; its workers are warned about."""
    ec2 = client(target, "ec2", REGION)
    subnet = ec2.create_subnet(
        VpcId=network["vpc_id"], CidrBlock="10.77.8.0/24", AvailabilityZone=f"{REGION}a"
    )["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=network["vpc_id"])["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    text = existing(network, head_subnet_id=subnet)
    assert "private_head: true" in problems(target, text)["network.existing.head_subnet_id"]
    private = existing(network, head_subnet_id=subnet, node_subnet_ids=[subnet], private_head=True)
    assert any("no default route" in warning for warning in resolve(parse_located(private), target).warnings)


@pytest.mark.parametrize(
    ("more", "where", "says"),
    [
        ("zones: [eu-central-1a, eu-central-1z]\n", "zones.1", "no zone 'eu-central-1z'"),
        ("compute: {head: {instance_type: m6i.lrage}}\n", "compute.head.instance_type", "m6i.large"),
        ("compute: {workers: {gpu: {instance_type: g5.xlarge, gpus: 2}}}\n", "compute.workers.gpu.gpus", "1 GPU"),
        ("compute: {workers: {big: {instance_type: u-6tb1.112xlarge, spot: true}}}\n", "compute.workers.big.spot", "no spot capacity"),
        ("catalog: {kms_key_arn: 'arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000'}\n", "catalog.kms_key_arn", "no KMS key"),
        ("state: {backend: s3, bucket: no-such-state-bucket}\n", "state.bucket", "aws s3 mb s3://no-such-state-bucket"),
    ],
)  # fmt: skip
def test_what_the_account_lacks_is_a_problem_with_a_place(target, more, where, says):
    """Zones, types, keys and buckets that aren't there are refused before Terraform starts."""
    found = problems(target, MINIMAL + more)
    assert says in found[where], found


def test_keys_that_cannot_encrypt_are_refused(target):
    """A disabled key and a key for signatures are refused; a good one passes."""
    kms = client(target, "kms", REGION)
    good = kms.create_key()["KeyMetadata"]
    disabled = kms.create_key()["KeyMetadata"]
    kms.disable_key(KeyId=disabled["KeyId"])
    signing = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]

    def text(key):
        return MINIMAL + f"artifact_store: {{kms_key_arn: '{key['Arn']}'}}\n"

    assert "not enabled" in problems(target, text(disabled))["artifact_store.kms_key_arn"]
    assert "symmetric" in problems(target, text(signing))["artifact_store.kms_key_arn"]
    assert resolve(parse_located(text(good)), target).zones


def test_the_disk_holds_the_image(target):
    """A disk that is smaller than the machine image's is refused with the size."""
    from botocore.stub import Stubber

    text = MINIMAL + "compute: {head: {ami: ami-0123456789abcdef0, disk_gb: 50}}\n"
    loaded = parse_located(text)
    ec2, wanted, found = client(target, "ec2", REGION), machines(loaded.definition), Problems(loaded)
    # Every image of moto's is smaller than the least disk.
    image = {
        "ImageId": "ami-0123456789abcdef0", "Architecture": "x86_64", "RootDeviceName": "/dev/sda1",
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 75}},
            {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 500}},
            {"DeviceName": "/dev/sdc", "VirtualName": "ephemeral0"},
        ],
    }  # fmt: skip
    types = instance_types(ec2, ["m6i.large"])
    with Stubber(ec2) as stub:
        stub.add_response("describe_images", {"Images": [image]})
        check_images(ec2, {"head": image["ImageId"]}, wanted, types, found)
    with pytest.raises(DefinitionError, match="75 or more") as caught:
        found.raise_if_any()
    assert [problem.where for problem in caught.value.problems] == ["compute.head.disk_gb"]


@pytest.mark.parametrize(
    ("default", "manager", "expected"),
    [
        ("alias/aws/ebs", None, None),
        ("arn:aws:kms:eu-central-1:123456789012:alias/aws/ebs", None, None),
        ("alias/team", "CUSTOMER", "arn:aws:kms:eu-central-1:123456789012:key/1"),
        ("alias/odd", "AWS", None),
    ],
)
def test_a_customers_key_for_disks_is_found(target, default, manager, expected):
    """An account whose new disks a customer's key encrypts has its head's role get rights on that key."""
    from botocore.stub import Stubber

    ec2, kms = client(target, "ec2", REGION), client(target, "kms", REGION)
    with Stubber(ec2) as settings, Stubber(kms) as keys:  # moto doesn't know the setting
        settings.add_response("get_ebs_default_kms_key_id", {"KmsKeyId": default})
        if manager:
            arn = "arn:aws:kms:eu-central-1:123456789012:key/1"
            keys.add_response(
                "describe_key", {"KeyMetadata": {"KeyId": "1", "Arn": arn, "KeyManager": manager}}
            )
        assert disk_key_of(ec2, kms) == expected


def test_what_is_paid_for_and_not_used_is_said(target):
    """GPUs that no step may use, and machines with different processors, are warned about."""
    text = (
        MINIMAL + "compute: {workers: {gpu: {instance_type: g5.xlarge}, arm: {instance_type: m6g.large}}}\n"
    )
    warnings = " ".join(resolve(parse_located(text), target).warnings)
    assert "has 1 GPU, and `gpus` is 0" in warnings
    assert "arm64: arm" in warnings


def test_the_role_for_spot_machines_is_made_once(target):
    """An account without spot machines gets EC2's role for them on a deploy; the plan says so, and later ones don't."""
    iam = client(target, "iam", REGION)
    for role in iam.list_roles()["Roles"]:
        if role["Path"] == "/aws-service-role/spot.amazonaws.com/":
            iam.delete_role(RoleName=role["RoleName"])
    text = MINIMAL + "compute: {workers: {gpu: {instance_type: g5.xlarge, gpus: 1, spot: true}}}\n"
    loaded = parse_located(text)
    assert any(SPOT_ROLE in warning for warning in resolve(loaded, target).warnings)
    assert prepare_account(target, parse_located(MINIMAL).definition) == []
    (sentence,) = prepare_account(target, loaded.definition)
    assert SPOT_ROLE in sentence
    assert prepare_account(target, loaded.definition) == []
    assert not any(SPOT_ROLE in warning for warning in resolve(loaded, target).warnings)
