"""A stack in the emulated cloud, made by a few API calls instead of minutes of Terraform.

The machines boot as real ones do: with user data, settings, the wheel from the bucket, and the token by their role.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.emulated import EmulatedCloud, eventually, running_cloud

from rayform_core.wheel import build_wheel
from rayform_runtime.components import Stack, StackSpec

TAGS = "rayform:stack"
HEAD_TAGS = {"ray-node-type": "head", "ray-user-node-type": "head"}
USER_DATA = """#!/bin/bash
set -eu
umask 077
mkdir -p /etc/rayform /opt/rayform/bootstrap
cat > /etc/rayform/stack.json <<'JSON'
{settings}
JSON
/opt/rayform/venv/bin/python - <<'PYTHON'
import boto3, json
stack = json.load(open("/etc/rayform/stack.json"))
s3 = boto3.client("s3", region_name=stack["region"], endpoint_url=stack["endpoints"]["s3"])
s3.download_file(stack["bucket"], "system/bootstrap/{wheel}", "/opt/rayform/bootstrap/{wheel}")
PYTHON
/opt/rayform/venv/bin/pip install --quiet --no-deps --force-reinstall /opt/rayform/bootstrap/{wheel}
{environment}exec /opt/rayform/venv/bin/python -m rayform_runtime.cluster.machine {command}
"""


class EmulatedCluster:
    """A head, worker groups, bucket, repository and catalog.

    Args:
        cloud: the cloud to make it in.
        folder: private files of the test.
        groups: worker groups by name; each has `max`, and may have `min`, `cpus`, `gpus` and `instance_type`.
        reference: the stack's reference, which the names of its resources begin with.
        autostop_minutes: idle minutes after which the head stops.
    """

    def __init__(
        self,
        cloud: EmulatedCloud,
        folder: Path,
        *,
        groups: dict[str, dict[str, Any]],
        reference: str = "rf-test",
        autostop_minutes: float = 60,
        idle_timeout_minutes: float = 5,
        watch_seconds: float = 2,
    ) -> None:
        self.cloud, self.folder, self.reference = cloud, folder, reference
        self.bucket = f"{reference}-bucket"
        endpoints = dict.fromkeys(("ec2", "s3", "ecr", "secretsmanager", "sts"), cloud.state.endpoint)
        aws = cloud.aws
        _, self.subnet = cloud.make_network()
        key = cloud.import_key(reference)
        for role in ("head", "worker"):
            cloud.make_role(f"{reference}-{role}", [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        aws("s3").create_bucket(Bucket=self.bucket)
        aws("secretsmanager").create_secret(Name=f"rayform/{reference}/ray-token", SecretString="t" * 40)
        self.repository = aws("ecr").create_repository(repositoryName=reference)["repository"][
            "repositoryUri"
        ]
        wheel = build_wheel(folder / "wheel")
        aws("s3").upload_file(str(wheel), self.bucket, f"system/bootstrap/{wheel.name}")
        self.settings: dict[str, Any] = {
            "version": 1, "name": "emulated", "reference": reference, "region": cloud.state.region,
            "bucket": self.bucket, "prefix": "artifacts", "ray_version": _ray_version(), "python_version": "3.11",
            "ray_token_secret": f"rayform/{reference}/ray-token", "registry": self.repository, "endpoints": endpoints,
            "autostop": {"enabled": True, "idle_minutes": autostop_minutes},
            "head": {"instance_type": "m6i.large", "subnet_id": self.subnet, "cpus": 1},
            "worker_groups": {},
        }  # fmt: skip
        for name, group in groups.items():
            self.settings["worker_groups"][name] = {
                "launch_template": f"{reference}-{name}",
                "instance_type": "m6i.large",
                "subnet_ids": [self.subnet],
                "cpus": 2,
                "gpus": 0,
                "min": 0,
                "idle_timeout_minutes": idle_timeout_minutes,
                **group,
            }
        environment = f"export RAYFORM_WATCH_SECONDS={watch_seconds}\n"
        boot = {"wheel": wheel.name, "environment": environment}
        self.head = cloud.run(
            self.subnet,
            InstanceType="m6i.large",
            KeyName=key,
            IamInstanceProfile={"Name": f"{reference}-head"},
            InstanceInitiatedShutdownBehavior="stop",
            UserData=USER_DATA.format(settings=json.dumps(self.settings), command="start", **boot),
            TagSpecifications=[
                _tags("instance", {TAGS: reference, "ray-cluster-name": reference, **HEAD_TAGS})
            ],
        )[0]
        private_ip = cloud.describe(self.head)["PrivateIpAddress"]
        import base64

        for name, group in self.settings["worker_groups"].items():
            node = {"role": "worker", "group": name, "head_private_ip": private_ip}
            data = USER_DATA.format(
                settings=json.dumps({**self.settings, "node": node}), command="worker start", **boot
            )
            aws("ec2").create_launch_template(
                LaunchTemplateName=group["launch_template"],
                LaunchTemplateData={
                    "ImageId": "ami-12c6146b",
                    "InstanceType": group["instance_type"],
                    "KeyName": key,
                    "IamInstanceProfile": {"Name": f"{reference}-worker"},
                    "UserData": base64.b64encode(data.encode()).decode(),
                    "TagSpecifications": [_tags("instance", {TAGS: reference, "rayform:group": name})],
                },
            )
        self.database: dict[str, Any] = {}

    def make_database(self) -> None:
        """Make the catalog's PostgreSQL; waits until it is available."""
        rds = self.cloud.aws("rds")
        rds.create_db_subnet_group(
            DBSubnetGroupName=self.reference, DBSubnetGroupDescription="test", SubnetIds=[self.subnet]
        )
        rds.create_db_instance(
            DBSubnetGroupName=self.reference,
            DBInstanceIdentifier=f"{self.reference}-catalog", DBInstanceClass="db.t4g.micro", Engine="postgres",
            AllocatedStorage=20, DBName="rayform", MasterUsername="rayform", ManageMasterUserPassword=True,
        )  # fmt: skip

        def available() -> dict[str, Any] | None:
            instance = rds.describe_db_instances(DBInstanceIdentifier=f"{self.reference}-catalog")[
                "DBInstances"
            ][0]
            return (
                instance if instance["DBInstanceStatus"] == "available" and instance.get("Endpoint") else None
            )

        self.database = eventually(available, "the database is available", 90)

    def await_head(self, seconds: float = 120.0) -> None:
        """Wait until the head reports that it is ready, and pin its host key."""
        from rayform_runtime.cluster.config import RayOrchestratorConfig
        from rayform_runtime.cluster.from_laptop.head import ClusterHead

        eventually(
            lambda: self.cloud.describe(self.head).get("PublicIpAddress"), "the head has an address", 30
        )
        self.known_hosts = self.folder / "known_hosts"

        def pinned() -> bool:
            keys = subprocess.run(
                ["ssh-keyscan", "-T", "5", self.address], capture_output=True, check=False
            ).stdout
            self.known_hosts.write_bytes(keys)
            return bool(keys.strip())

        eventually(pinned, "the head's sshd answers", 60)
        self.config = RayOrchestratorConfig(**self.orchestrator())
        head = ClusterHead(self.config)
        try:
            eventually(lambda: head.status().ready, f"the head is ready: {self.boot_log()}", seconds)
        finally:
            head.close()

    @property
    def address(self) -> str:
        """The head's address as this machine reaches it."""
        from rayform_localstack import inspection

        row = next(r for r in inspection.status()["instances"] if r["id"] == self.head)
        return str(row["ssh"].rpartition("@")[2])

    def boot_log(self) -> str:
        """Return the last lines that the head's user data printed."""
        try:
            return self.cloud.inside(self.head, "tail", "-n", "15", "/var/log/cloud-init-output.log")
        except AssertionError as error:
            return str(error)

    def launch_worker(self) -> str:
        """Start a worker of the first group as Ray's autoscaler does; return its identifier."""
        group = next(iter(self.settings["worker_groups"].values()))
        tags = {TAGS: self.reference, "ray-cluster-name": self.reference, "ray-node-type": "worker"}
        answer = self.cloud.aws("ec2").run_instances(
            LaunchTemplate={"LaunchTemplateName": group["launch_template"]},
            SubnetId=self.subnet,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[_tags("instance", tags)],
        )
        return str(answer["Instances"][0]["InstanceId"])

    def workers(self) -> list[str]:
        """Return the identifiers of the running workers."""
        answer = self.cloud.aws("ec2").describe_instances(
            Filters=[
                {"Name": "tag:ray-node-type", "Values": ["worker"]},
                {"Name": "instance-state-name", "Values": ["pending", "running"]},
            ]
        )
        return [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]

    def orchestrator(self) -> dict[str, Any]:
        """Return the settings of the stack's orchestrator."""
        from rayform_localstack.images import base_image

        return {
            "address": f"ssh://ubuntu@{self.address}",
            "ssh_key": str(self.cloud.key),
            "known_hosts": str(self.known_hosts),
            "region": self.cloud.state.region,
            "instance_id": self.head,
            "stack_reference": self.reference,
            "endpoint_url": self.cloud.state.endpoint,
            "base_image": base_image(),
        }

    def register(self, name: str) -> None:
        """Register the stack in this home, as a deploy does."""
        from rayform.stacks import register_deployed

        components = {
            kind.value.replace("-", "_"): {"flavor": component.flavor, "config": component.config}
            for kind, component in self.stack().spec.components.items()
        }
        register_deployed(name, {"reference": self.reference, **components})

    def stack(self) -> Stack:
        """Return the deployed stack."""
        from rayform_localstack.state import folder as emulator_folder

        orchestrator = self.orchestrator()
        endpoint, region = self.cloud.state.endpoint, self.cloud.state.region
        ssh = {k: orchestrator[k] for k in ("ssh_key", "known_hosts")}
        components: dict[str, tuple[str, dict[str, Any]]] = {
            "orchestrator": ("ray", orchestrator),
            "artifact-store": ("s3", {"bucket": self.bucket, "region": region, "endpoint_url": endpoint}),
            "container-registry": (
                "ecr",
                {"uri": self.repository, "region": region, "endpoint_url": endpoint, "insecure": True},
            ),
            "catalog": (
                "postgres",
                {
                    "host": self.database["Endpoint"]["Address"],
                    "port": self.database["Endpoint"]["Port"],
                    "database": "rayform",
                    "user": "rayform",
                    "password_secret": self.database["MasterUserSecret"]["SecretArn"],
                    "region": region,
                    "endpoint_url": endpoint,
                    "sslmode": "verify-full",
                    "ca_bundle": (emulator_folder() / "database-ca.pem").read_text(),
                    "tunnel": orchestrator["address"],
                    **ssh,
                },
            ),
        }
        return Stack(
            StackSpec.model_validate(
                {
                    "name": "emulated",
                    "reference": self.reference,
                    "components": {
                        kind: {"name": kind, "kind": kind, "flavor": flavor, "config": config}
                        for kind, (flavor, config) in components.items()
                    },
                }
            )
        )


def registered_cluster(
    folders: pytest.TempPathFactory, groups: dict[str, dict[str, Any]], engine: str = "moto"
) -> Iterator[EmulatedCluster]:
    """Yield a cluster with a ready head, registered as stack `emulated` in a home of its own; take it down afterwards.

    Args:
        folders: pytest's factory of temporary folders.
        groups: the worker groups.
        engine: the engine of the emulated cloud.
    """
    home = folders.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFORM_HOME", str(home))
        for emulated in running_cloud(home, engine, notice_seconds=20):
            state = emulated.state
            patch.setenv("AWS_ACCESS_KEY_ID", state.access_key)
            patch.setenv("AWS_SECRET_ACCESS_KEY", state.secret_key)
            patch.setenv("AWS_DEFAULT_REGION", state.region)
            cluster = EmulatedCluster(emulated, folders.mktemp("cluster"), groups=groups)
            cluster.make_database()
            cluster.await_head()
            cluster.register("emulated")
            yield cluster


def _tags(kind: str, tags: dict[str, str]) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}


def _ray_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("ray")
