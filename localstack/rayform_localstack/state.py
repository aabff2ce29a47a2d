"""The state of an emulated cloud on disk: `$RAYFORM_HOME/localstack/`, readable by its owner alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rayform_core.errors import IntegrityError, NotFoundError
from rayform_core.files import home, storage_error, write_atomically

__all__ = ["ENGINES", "LAYERS_LIMIT", "SERVICES", "CloudState", "cloud_of_home", "folder", "layers_volume"]

ENGINES = ("moto", "localstack")
LAYERS_LIMIT = 6 << 30


def layers_volume() -> str:
    """Return the volume of image layers that the registries of all clouds of this machine share.

    It has no cloud's label, since it outlives them. `RAYFORM_LAYERS_VOLUME` names another volume.
    """
    return os.environ.get("RAYFORM_LAYERS_VOLUME") or "rayform-layers"


SERVICES = (
    "autoscaling",
    "budgets",
    "ce",
    "cloudwatch",
    "ec2",
    "ecr",
    "events",
    "iam",
    "kms",
    "logs",
    "pricing",
    "rds",
    "resourcegroupstaggingapi",
    "s3",
    "s3control",
    "secretsmanager",
    "servicequotas",
    "sns",
    "sqs",
    "ssm",
    "sts",
)
"""Services that `endpoints.json` names, by their names in Terraform's AWS provider."""


def folder() -> Path:
    """Return the folder of this home's emulated cloud."""
    return home() / "localstack"


# 20 attributes: one for each field of `cloud.json`, which three processes read whole.
@dataclass
class CloudState:
    """One emulated cloud. `up` chooses every field but the last two when it makes the cloud."""

    id: str
    """Short random name, and the label of everything that the cloud owns."""
    slot: int
    """Number that no other cloud of this machine has. `198.18.SLOT.0/24` is the cloud's management network,
    `127.77.SLOT.0/24` has its loopback addresses."""
    engine: str
    """`"moto"`, or `"localstack"` for LocalStack in front of it."""
    region: str
    """The region of the services' own resources."""
    gateway: str
    """Address of the API, the same for host and nodes."""
    api_port: int
    """Port of the API."""
    metadata_port: int
    """Port of the metadata service."""
    registry_port: int
    """Port of the registry."""
    token: str
    """Secret of the API process's control endpoints, which nodes can reach but must not use."""
    access_key: str
    """The administrator's access key; everyone else gets keys from the API."""
    secret_key: str
    """The administrator's secret key."""
    registry_password: str
    """Key that seals ECR's logins."""
    enforce_iam: bool = True
    """Whether requests are checked against the caller's policies."""
    notice_seconds: float = 120.0
    """Seconds from the notice of a spot interruption to the end."""
    layers_limit: int = LAYERS_LIMIT
    """Bytes that image layers may take that outlive the clouds of this machine; 0 keeps none."""
    layers_volume: str = field(default_factory=layers_volume)
    """The volume of these layers."""
    account: str = "123456789012"
    """The account's number."""
    started: float = 0.0
    """When the cloud was made, in seconds since the epoch."""
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Name to (process ID, start time), so that a reused ID never counts as ours. Each start of one changes it."""
    images: dict[str, str] = field(default_factory=dict)
    """Tags of the images that the cloud boots, by name. Each `up` sets them."""

    @property
    def endpoint(self) -> str:
        """URL of the API, the same for host and nodes."""
        return f"http://{self.gateway}:{self.api_port}"

    @property
    def registry(self) -> str:
        """Host and port of the registry. Docker needs no TLS for loopback addresses."""
        return f"127.77.{self.slot}.1:{self.registry_port}"

    def save(self) -> None:
        """Write the state, and the endpoints that the provisioner reads."""
        write_atomically(folder() / "cloud.json", asdict(self))
        write_atomically(folder() / "endpoints.json", self.endpoints())

    def endpoints(self) -> dict[str, object]:
        """Return all addresses and keys, for Terraform, SDKs and users."""
        return {
            "engine": self.engine,
            "services": dict.fromkeys(SERVICES, self.endpoint),
            "database_ca": str(folder() / "database-ca.pem"),
            "region": self.region,
            "account": self.account,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "node_endpoint": self.endpoint,
            "registry": self.registry,
            "base_image": self.images.get("base"),
            "cloud": self.id,
        }

    @classmethod
    def load(cls) -> CloudState | None:
        """Return the saved state of this home's cloud, or `None` if there is none.

        Raises:
            IntegrityError: the file doesn't hold a cloud's state.
            PrerequisiteError: it can't be opened.
        """
        try:
            return cls.read(folder() / "cloud.json")
        except FileNotFoundError:
            return None

    @classmethod
    def read(cls, file: Path) -> CloudState:
        """Read a saved state.

        Raises:
            FileNotFoundError: there is none.
            IntegrityError: the file doesn't hold a cloud's state.
            PrerequisiteError: it can't be opened.
        """
        try:
            data = json.loads(file.read_text())
            data["processes"] = {k: (int(v[0]), float(v[1])) for k, v in data["processes"].items()}
            return cls(**data)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(error, file) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise IntegrityError(
                f"'{file}' can't be read.",
                why=str(error),
                hint="Remove it. `rayform localstack down` finds everything of the cloud by its labels.",
            ) from error


def cloud_of_home() -> CloudState:
    """Return the saved state of this home's cloud, for commands that need one.

    Raises:
        NotFoundError: there is none.
    """
    state = CloudState.load()
    if state is None:
        raise NotFoundError("emulated cloud", str(folder()), hint="Start one: rayform localstack up.")
    return state
