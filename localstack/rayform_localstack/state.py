"""What an emulated cloud keeps on disk: `$RAYFORM_HOME/localstack/`, readable by its owner alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rayform_core.errors import IntegrityError, NotFoundError
from rayform_core.files import home, storage_error, write_atomically

__all__ = ["ENGINES", "LAYERS_LIMIT", "SERVICES", "CloudState", "cloud_of_home", "folder", "layers_volume"]

ENGINES = ("moto", "localstack")
LAYERS_LIMIT = 6 << 30


def layers_volume() -> str:
    """Return the volume of image layers that the registries of all clouds of this machine share.

    It bears no cloud's label, since it outlives them. `RAYFORM_LAYERS_VOLUME` names another.
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


@dataclass
class CloudState:
    """One emulated cloud.

    Args:
        id: short random name; the label of everything it owns.
        slot: number that sets its addresses apart from other clouds': `198.18.SLOT.0/24` is its management
            network, `127.77.SLOT.0/24` holds its loopback addresses.
        engine: `"moto"`, or `"localstack"` for LocalStack in front of it.
        region: the region of the services' own resources.
        gateway: address of the API, reached from host and nodes alike.
        api_port, metadata_port, registry_port: ports of the API, the metadata service and the registry.
        token: opens the control endpoints of the API process, which nodes can reach but must not use.
        access_key, secret_key: the administrator's; everybody else gets keys from the API.
        registry_password: what ECR's logins are sealed with.
        enforce_iam: requests are checked against the caller's policies.
        notice_seconds: how long before a spot interruption its notice appears.
        layers_limit: bytes that image layers may take which outlive the clouds of this machine; 0 keeps none.
        layers_volume: the volume that they lie in.
        processes: name to (process ID, start time), so that a reused ID is never taken for ours.
        images: tags of the images it boots.
        started: seconds since the epoch.
    """

    id: str
    slot: int
    engine: str
    region: str
    gateway: str
    api_port: int
    metadata_port: int
    registry_port: int
    token: str
    access_key: str
    secret_key: str
    registry_password: str
    enforce_iam: bool = True
    notice_seconds: float = 120.0
    layers_limit: int = LAYERS_LIMIT
    layers_volume: str = field(default_factory=layers_volume)
    account: str = "123456789012"
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    started: float = 0.0

    @property
    def endpoint(self) -> str:
        """URL of the API, the same for host and nodes."""
        return f"http://{self.gateway}:{self.api_port}"

    @property
    def registry(self) -> str:
        """Host and port of the registry. Docker takes loopback addresses without TLS."""
        return f"127.77.{self.slot}.1:{self.registry_port}"

    def save(self) -> None:
        """Write the state and, from it, the endpoints that the provisioner reads."""
        write_atomically(folder() / "cloud.json", asdict(self))
        write_atomically(folder() / "endpoints.json", self.endpoints())

    def endpoints(self) -> dict[str, Any]:
        """Return where everything is, for Terraform, SDKs and people."""
        return {
            "engine": self.engine,
            "services": dict.fromkeys(SERVICES, self.endpoint),
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
        """Return the saved state, or `None` where there is none.

        Raises:
            IntegrityError: the file isn't ours any more.
            PrerequisiteError: it can't be opened.
        """
        file = folder() / "cloud.json"
        try:
            data = json.loads(file.read_text())
            data["processes"] = {k: (int(v[0]), float(v[1])) for k, v in data["processes"].items()}
            return cls(**data)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, file) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise IntegrityError(
                f"'{file}' can't be read.",
                why=str(error),
                hint="Remove it; `rayform localstack down` finds what it described by its labels.",
            ) from error


def cloud_of_home() -> CloudState:
    """Return the cloud that this home has on file, for what makes sense only with one.

    Raises:
        NotFoundError: there is none.
    """
    state = CloudState.load()
    if state is None:
        raise NotFoundError("emulated cloud", str(folder()), hint="Start one: rayform localstack up.")
    return state
