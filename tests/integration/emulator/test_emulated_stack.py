"""The unmodified definition of a stack, deployed to the emulated cloud by Terraform."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.emulated import EmulatedCloud, eventually, free_cidr, left_in_docker, running_cloud
from support.terraform_mirror import provider_mirror

from rayform_localstack import inspection
from rayform_localstack.engine import docker_client
from rayform_localstack.labels import CLOUD, KIND, Kind
from rayform_provisioner.definitions.definition import load_definition
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.targets import resolve_target

pytestmark = [
    pytest.mark.docker,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.timeout(900),
]

# The provider waits most of a minute for lifecycle rules, and two for a database, whatever answers: the rules are
# left out, and the database is made with one engine (`test_emulated_services.py` logs in to one with each).
DEFINITION = """\
name: rehearsal
region: us-east-1
owner: tests
network: {{cidr: {cidr}, allowed_ingress_cidrs: [203.0.113.7/32]}}
artifact_store: {{old_versions_days: null, incomplete_uploads_days: null}}
{catalog}compute:
  workers:
    cpu: {{instance_type: t3.large, min: 1, max: 1}}
"""
NO_DATABASE = """\
catalog:
  existing:
    host: catalog.example.com
    secret_arn: arn:aws:secretsmanager:us-east-1:123456789012:secret:shared-catalog-AbCdEf
"""
ASK = """
import boto3, botocore.exceptions, json, sys
from botocore import UNSIGNED
from botocore.config import Config
bucket, registry, secret = sys.argv[1:4]
s3, found = boto3.client("s3"), {}
s3.put_object(Bucket=bucket, Key="mine/a", Body=b"x")
found["bucket"] = s3.get_object(Bucket=bucket, Key="mine/a")["Body"].read().decode()
bare = boto3.client("s3", config=Config(signature_version=UNSIGNED))
for name, call in {
    "unsigned": lambda: bare.get_object(Bucket=bucket, Key="mine/a"),
    "bootstrap": lambda: s3.put_object(Bucket=bucket, Key="system/bootstrap/x", Body=b"x"),
    "users": lambda: boto3.client("iam").list_users(),
}.items():
    try:
        call(); found[name] = "reached"
    except botocore.exceptions.ClientError as error:
        found[name] = error.response["ResponseMetadata"]["HTTPStatusCode"]
if secret:
    import psycopg
    login = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    with psycopg.connect(host=sys.argv[4], dbname=sys.argv[5], user=login["username"], password=login["password"]) as c:
        found["database"] = c.execute("SELECT 41 + 1").fetchone()[0]
print(json.dumps(found))
"""


@pytest.fixture(params=["moto", pytest.param("localstack", marks=pytest.mark.localstack)])
def either(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmulatedCloud]:
    """A cloud of each engine, as the target of deployments."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    mirror = provider_mirror()
    if mirror:
        monkeypatch.setenv("RAYFORM_TERRAFORM_MIRROR", mirror)
    yield from running_cloud(tmp_path, request.param)


def machines(emulated: EmulatedCloud) -> list[str]:
    """Return the containers of machines that there are."""
    filters = {"label": [f"{CLOUD}={emulated.state.id}", f"{KIND}={Kind.MACHINE}"]}
    return [c["Id"] for c in docker_client().api.containers(all=True, filters=filters)]


def test_a_two_node_stack_boots_works_and_leaves_nothing(
    either: EmulatedCloud, tmp_path: Path, pushed: Callable[[str], str]
) -> None:
    """Both machines boot with their roles, reach bucket, database and registry, take SSH, and end on destroy."""
    with_database = either.state.engine == "moto"
    definition = tmp_path / "stack.yaml"
    definition.write_text(DEFINITION.format(cidr=free_cidr(), catalog="" if with_database else NO_DATABASE))
    life = Lifecycle("rehearsal", resolve_target("localstack"))
    outputs = life.deploy(load_definition(definition), lambda _: True)
    assert outputs is not None
    head = outputs["head_instance_id"]
    assert either.await_boot(head, 120)["code"] == 0, inspection.log_of(head)

    def worker() -> str | None:
        rows = [r for r in inspection.status()["instances"] if r["id"] != head and r["state"] == "running"]
        return str(rows[0]["id"]) if rows else None

    # Nobody but Ray's autoscaler on the head starts it, with the head's role.
    second = eventually(worker, f"the worker runs: {inspection.log_of(head)[-3000:]}", 120)
    assert either.await_boot(second, 120)["code"] == 0, inspection.log_of(second)

    where = [outputs["bucket"], outputs["registry_url"]]
    where += (
        [outputs["catalog_secret_arn"], outputs["catalog_host"], outputs["catalog_database"]]
        if with_database
        else ["", "", ""]
    )
    wanted = {"bucket": "x", "unsigned": 403, "bootstrap": 403, "users": 403}
    if with_database:
        wanted["database"] = 42
    image = pushed(outputs["registry_url"])
    # The worker's own user data ran, not an empty one: it knows whose worker it is.
    node_settings = json.loads(either.inside(second, "cat", "/etc/rayform/stack.json"))["node"]
    assert node_settings["head_private_ip"] == outputs["head_private_ip"]
    for node in (head, second):
        assert json.loads(either.inside(node, "python", "-c", ASK, *where)) == wanted
        # Its role may pull the stack's images and push none.
        pulled = either.inside(node, "python", "-c", LOG_IN, image, "pull", "push").splitlines()
        assert pulled[0] == "pull done"
        assert "not authorized to perform: ecr:PutImage" in pulled[1]
    key = next((tmp_path / "home" / "deployments" / "rehearsal").rglob("id_ed25519"))
    either.key = key
    address = outputs["head_public_ip"]
    assert address.startswith("127.77.")
    assert either.ssh(address, "hostname -I").strip() == outputs["head_private_ip"]

    assert life.destroy(lambda _: True, delete_data=True) == []
    assert machines(either) == []
    eventually(
        lambda: len(left_in_docker(either.state.id)) == 3 or None, "only registry and network are left"
    )


LOG_IN = """
import base64, boto3, subprocess, sys
host = sys.argv[1].partition("/")[0]
token = boto3.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
password = base64.b64decode(token).partition(b":")[2]
login = ["docker", "login", "-u", "AWS", "--password-stdin", host]
subprocess.run(login, input=password, check=True, capture_output=True)
for verb in sys.argv[2:]:
    done = subprocess.run(["docker", verb, "-q", sys.argv[1]], capture_output=True, text=True)
    print(verb, "done" if done.returncode == 0 else done.stderr.strip())
"""


@pytest.fixture
def pushed(either: EmulatedCloud) -> Iterator[Callable[[str], str]]:
    """Pushes a tiny image with the administrator's login; returns its name."""
    client, names = docker_client(), []

    def push(repository: str) -> str:
        client.api.import_image_from_data(bytes(10240), repository=repository, tag="probe")
        names.append(f"{repository}:probe")
        (given,) = either.aws("ecr").get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
        login = {"username": user, "password": password}
        lines = client.api.push(repository, tag="probe", auth_config=login, stream=True, decode=True)
        assert not [line for line in lines if "error" in line]
        client.images.remove(names[-1])
        return names[-1]

    yield push
    for name in names:
        subprocess.run(["docker", "rmi", name], check=False, capture_output=True)
