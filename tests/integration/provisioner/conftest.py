"""An emulated cloud (moto) for the provisioner's tests, and stacks that are quick to deploy."""

from __future__ import annotations

import json

import pytest
from support.servers.moto import moto_server
from support.terraform_mirror import provider_mirror

from rayform_provisioner.aws.clients import client
from rayform_provisioner.targets import resolve_target

SERVICES = (
    "autoscaling", "ec2", "ecr", "iam", "kms", "rds", "resourcegroupstaggingapi", "s3", "secretsmanager",
    "servicequotas", "ssm", "sts",
)  # fmt: skip

# No database and no lifecycle rules: the provider waits minutes for the one and most of a minute for the other,
# whatever answers. A whole stack is deployed by benchmarks/bench_stack.py and by the emulated cloud's tests.
LEAN = """\
name: {name}
region: eu-central-1
owner: tests
network: {{allowed_ingress_cidrs: [203.0.113.7/32]{network}}}
artifact_store: {{old_versions_days: null, incomplete_uploads_days: null}}
catalog:
  existing:
    host: catalog.example.com
    secret_arn: arn:aws:secretsmanager:eu-central-1:123456789012:secret:shared-catalog-AbCdEf
compute:
  workers:
    gpu: {{instance_type: g4dn.xlarge, max: 1, gpus: 1, spot: true}}
"""


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory):
    """Address of a moto server that lives as long as the tests."""
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def endpoints(moto_url, tmp_path_factory):
    """An endpoints file for that server."""
    path = tmp_path_factory.mktemp("target") / "endpoints.json"
    path.write_text(json.dumps({"services": dict.fromkeys(SERVICES, moto_url)}))
    return path


@pytest.fixture
def stack_home(tmp_path, monkeypatch):
    """A Rayform home of the test's own, with the machine's provider mirror set."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYFORM_TARGET", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    mirror = provider_mirror()
    if mirror:
        monkeypatch.setenv("RAYFORM_TERRAFORM_MIRROR", mirror)
    return tmp_path / "home"


@pytest.fixture
def lean(tmp_path):
    """Writes a definition that is quick to deploy, and returns its path."""

    def write(name="lean", more=""):
        path = tmp_path / f"{name}.yaml"
        path.write_text(LEAN.format(name=name, network="") + more)
        return path

    return write


@pytest.fixture(scope="session")
def network(endpoints):
    """An existing network, because the provider waits half a minute for a new one."""
    ec2 = client(resolve_target(str(endpoints)), "ec2", "eu-central-1")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.77.{number}.0/24", AvailabilityZone=f"eu-central-1{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    for subnet in subnets:
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    return {
        "vpc_id": vpc,
        "head_subnet_id": subnets[0],
        "node_subnet_ids": subnets,
        "database_subnet_ids": subnets,
    }


@pytest.fixture
def leaner(tmp_path, network):
    """Writes a definition that is even quicker to deploy, in an existing network, and returns its path."""

    def write(name, more=""):
        path = tmp_path / f"{name}.yaml"
        path.write_text(LEAN.format(name=name, network=f", existing: {json.dumps(network)}") + more)
        return path

    return write
