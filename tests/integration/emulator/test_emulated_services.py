"""What stands behind RDS and ECR, and Docker as a machine sees it."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator

import psycopg
import pytest
from docker.errors import APIError
from support.emulated import EmulatedCloud, eventually

from rayform_localstack import images, inspection
from rayform_localstack.engine import docker_client

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

READ_BUCKET = """#!/bin/bash
set -eu
cat > /tmp/reach.py <<'PYTHON'
import boto3, botocore.exceptions, json
from botocore import UNSIGNED
from botocore.config import Config
s3, found = boto3.client("s3"), {}
def attempt(name, call):
    try:
        call(); found[name] = "reached"
    except botocore.exceptions.ClientError as error:
        found[name] = error.response["Error"]["Code"]
attempt("own", lambda: s3.get_object(Bucket="own-bucket", Key="a"))
attempt("write", lambda: s3.put_object(Bucket="own-bucket", Key="from-node", Body=b"hello"))
attempt("other", lambda: s3.get_object(Bucket="other-bucket", Key="a"))
attempt("list", s3.list_buckets)
attempt("iam", lambda: boto3.client("iam").list_users())
bare = boto3.client("s3", config=Config(signature_version=UNSIGNED))
attempt("unsigned", lambda: bare.get_object(Bucket="own-bucket", Key="a"))
strange = boto3.client("s3", aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key="x")
attempt("stranger", lambda: strange.get_object(Bucket="own-bucket", Key="a"))
json.dump(found, open("/tmp/found.json", "w"))
PYTHON
python /tmp/reach.py
"""


@pytest.fixture(scope="module")
def network(either: EmulatedCloud) -> tuple[str, str]:
    """A VPC and a subnet."""
    either.import_key()
    return either.make_network()


@pytest.fixture(scope="module")
def node(either: EmulatedCloud, network: tuple[str, str]) -> str:
    """An instance that has booted and may read the database's secret and the registry."""
    allow = {"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue", "ecr:*"], "Resource": "*"}
    role = either.make_role("node", [allow])
    (identifier,) = either.run(network[1], KeyName="key", IamInstanceProfile={"Name": role})
    either.await_boot(identifier)
    return identifier


def test_an_instance_reaches_its_bucket_with_its_role_and_nothing_without(
    either: EmulatedCloud, network: tuple[str, str]
) -> None:
    """A role's policy decides what its instance reaches; unsigned and unknown callers reach nothing."""
    s3 = either.aws("s3")
    for bucket in ("own-bucket", "other-bucket"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    allow = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": "arn:aws:s3:::own-bucket/*",
    }
    role = either.make_role("reader", [allow])
    (instance,) = either.run(network[1], user_data=READ_BUCKET, IamInstanceProfile={"Name": role})
    assert either.await_boot(instance)["code"] == 0, inspection.log_of(instance)
    assert json.loads(either.inside(instance, "cat", "/tmp/found.json")) == {
        "own": "reached",
        "write": "reached",
        "other": "AccessDenied",
        "list": "AccessDenied",
        "iam": "AccessDeniedException",
        "unsigned": "AccessDenied",
        "stranger": "InvalidAccessKeyId",
    }
    assert s3.get_object(Bucket="own-bucket", Key="from-node")["Body"].read() == b"hello"


def test_a_database_takes_the_managed_password_at_its_endpoint_from_host_and_node(
    either: EmulatedCloud, network: tuple[str, str], node: str
) -> None:
    """RDS's endpoint is a PostgreSQL server that knows the password in Secrets Manager, and no other."""
    rds = either.aws("rds")
    rds.create_db_subnet_group(
        DBSubnetGroupName="group", DBSubnetGroupDescription="x", SubnetIds=[network[1]]
    )
    rds.create_db_instance(
        DBInstanceIdentifier="catalog", Engine="postgres", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
        DBName="rayform", MasterUsername="owner", ManageMasterUserPassword=True, DBSubnetGroupName="group",
    )  # fmt: skip
    described = eventually(lambda: available(either), "the database is available", 60)
    endpoint = described["Endpoint"]
    secret = described["MasterUserSecret"]["SecretArn"]
    login = json.loads(either.aws("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    where = {"host": endpoint["Address"], "port": endpoint["Port"], "dbname": "rayform"}
    with psycopg.connect(user=login["username"], password=login["password"], **where) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (41)")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(user=login["username"], password="wrong", **where)
    script = (
        "import boto3, json, psycopg, sys\n"
        "secret = boto3.client('secretsmanager').get_secret_value(SecretId=sys.argv[1])['SecretString']\n"
        "login = json.loads(secret)\n"
        "c = psycopg.connect(host=sys.argv[2], port=int(sys.argv[3]), dbname='rayform',\n"
        "                    user=login['username'], password=login['password'])\n"
        "print(c.execute('SELECT n + 1 FROM kept').fetchone()[0])\n"
    )
    found = either.inside(node, "python", "-c", script, secret, endpoint["Address"], str(endpoint["Port"]))
    assert found == "42\n"
    shown = subprocess.run(
        ["docker", "inspect", f"rayform-{either.state.id}-db-catalog"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert login["password"] not in shown.stdout


def available(either: EmulatedCloud) -> dict[str, object] | None:
    """Return the database once it is available."""
    found: dict[str, object] = either.aws("rds").describe_db_instances()["DBInstances"][0]
    assert found["DBInstanceStatus"] in {"creating", "available"}, found
    return found if found["DBInstanceStatus"] == "available" else None


def test_a_database_that_is_stopped_keeps_its_data_and_one_deleted_leaves_nothing(
    either: EmulatedCloud,
) -> None:
    """Stop, start and delete do to the server and its data what they say."""
    rds = either.aws("rds")
    name = f"rayform-{either.state.id}-db-catalog"
    rds.stop_db_instance(DBInstanceIdentifier="catalog")
    eventually(lambda: running_container(name) is False or None, "stopped")
    rds.start_db_instance(DBInstanceIdentifier="catalog")
    eventually(lambda: running_container(name) or None, "started")
    described = eventually(lambda: available(either), "available")
    login = json.loads(
        either.aws("secretsmanager").get_secret_value(
            SecretId=described["MasterUserSecret"]["SecretArn"]  # type: ignore[index]
        )["SecretString"]
    )
    where = {"host": described["Endpoint"]["Address"], "dbname": "rayform", "user": login["username"]}  # type: ignore[index]

    def read() -> int | None:
        try:
            with psycopg.connect(password=login["password"], **where) as connection:
                row = connection.execute("SELECT n FROM kept").fetchone()
                return int(row[0]) if row else None
        except psycopg.OperationalError:
            return None

    assert eventually(read, "the database answers again") == 41
    rds.delete_db_instance(DBInstanceIdentifier="catalog", SkipFinalSnapshot=True)
    eventually(lambda: running_container(name) is None or None, "removed")
    eventually(lambda: f"{name}-data" not in volumes() or None, "its data is removed")


def running_container(name: str) -> bool | None:
    """Return whether a container runs, or `None` where there is none."""
    found = docker_client().api.containers(all=True, filters={"name": f"^/{name}$"})
    return found[0]["State"] == "running" if found else None


def volumes() -> set[str]:
    """Return the names of all volumes."""
    return {v["Name"] for v in docker_client().api.volumes().get("Volumes") or []}


@pytest.fixture
def small_image() -> Iterator[str]:
    """A tiny image under a name of its own."""
    client = docker_client()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    tag = "rayform-test/emulator-small:1"
    client.api.import_image_from_data(archive.getvalue(), repository=tag.partition(":")[0], tag="1")
    yield tag
    client.images.remove(tag, force=True)


def login_to(either: EmulatedCloud) -> dict[str, str]:
    """Return the login that ECR hands out."""
    (given,) = either.aws("ecr").get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    assert given["proxyEndpoint"].endswith(either.state.registry)
    return {"username": user, "password": password}


def push(repository: str, tag: str, login: dict[str, str]) -> str:
    """Push an image; return the error, or nothing."""
    client = docker_client()
    lines = client.api.push(repository, tag=tag, auth_config=login, stream=True, decode=True)
    return next((str(line["error"]) for line in lines if "error" in line), "")


def test_an_image_is_pushed_to_the_repository_url_and_pulled_by_a_node_by_that_name(
    either: EmulatedCloud, node: str, small_image: str
) -> None:
    """ECR's URL and login work for push and pull, and what is pushed appears in the API."""
    ecr, client = either.aws("ecr"), docker_client()
    uri = ecr.create_repository(repositoryName="team/steps")["repository"]["repositoryUri"]
    login = login_to(either)
    client.images.get(small_image).tag(uri, "v1")
    assert push(uri, "v1", login) == ""

    def described() -> list[dict[str, object]] | None:
        return list(ecr.describe_images(repositoryName="team/steps")["imageDetails"]) or None

    (image,) = eventually(described, "the image is in the API")
    assert image["imageTags"] == ["v1"]
    client.images.remove(f"{uri}:v1", force=True)
    pull = (
        "import boto3, base64, subprocess, sys\n"
        "t = boto3.client('ecr').get_authorization_token()['authorizationData'][0]['authorizationToken']\n"
        "user, _, password = base64.b64decode(t).decode().partition(':')\n"
        "host = sys.argv[1].partition('/')[0]\n"
        "subprocess.run(['docker', 'login', '-u', user, '--password-stdin', host], input=password.encode(), check=True,"
        " capture_output=True)\n"
        "subprocess.run(['docker', 'pull', '-q', sys.argv[1]], check=True)\n"
    )
    assert f"{uri}:v1" in either.inside(node, "python", "-c", pull, f"{uri}:v1")
    assert client.images.get(f"{uri}@{image['imageDigest']}")
    client.images.remove(f"{uri}:v1", force=True)
    ecr.batch_delete_image(repositoryName="team/steps", imageIds=[{"imageTag": "v1"}])

    def gone() -> bool | None:
        try:
            client.api.inspect_distribution(f"{uri}:v1", auth_config=login)
        except APIError:
            return True
        return None

    eventually(gone, "the image is gone from the registry")


def test_the_registry_refuses_strangers_and_repositories_that_the_api_does_not_know(
    either: EmulatedCloud, small_image: str
) -> None:
    """A wrong login and a repository that wasn't created are refused, each by its reason."""
    client, uri = docker_client(), f"{either.state.registry}/never-made"
    client.images.get(small_image).tag(uri, "v1")
    try:
        assert "does not exist in the registry" in push(uri, "v1", login_to(either))
        assert "logged in" in push(uri, "v1", {"username": "AWS", "password": "guess"})
    finally:
        client.images.remove(f"{uri}:v1", force=True)


def test_a_container_that_a_node_starts_lives_in_the_node_s_world_and_ends_with_it(
    either: EmulatedCloud, network: tuple[str, str]
) -> None:
    """Host namespaces and bind mounts mean the node's, GPUs are logical, and the node's end is the step's."""
    (node,) = either.run(network[1], InstanceType="g5.xlarge")
    either.await_boot(node)
    either.inside(node, "sh", "-c", "mkdir -p /tmp/ray && echo from-node > /tmp/ray/mark")
    image = images.base_image()
    common = [
        "--network",
        "host",
        "--pid",
        "host",
        "--ipc",
        "host",
        "-v",
        "/tmp/ray:/tmp/ray",
        "--gpus",
        "all",
    ]
    seen = either.inside(
        node, "docker", "run", "--rm", *common, image, "sh", "-c",
        "cat /tmp/ray/mark; echo from-step > /tmp/ray/answer; hostname -I; grep -c . /proc/1/comm; cat /proc/1/comm",
    ).splitlines()  # fmt: skip
    assert seen[0] == "from-node"
    assert seen[1].strip() == either.describe(node)["PrivateIpAddress"]
    assert seen[3] in {"docker-init", "tini"}
    assert either.inside(node, "cat", "/tmp/ray/answer") == "from-step\n"
    left = either.inside(node, "docker", "run", "-d", *common, image, "sleep", "600").strip()
    assert "sleep 600" in either.inside(node, "ps", "ax")
    either.aws("ec2").terminate_instances(InstanceIds=[node])
    either.await_state(node, "terminated")
    assert docker_client().api.containers(all=True, filters={"id": left}) == []
