"""Where a stack is deployed to: AWS proper, or an emulated cloud with its own endpoints.

A target is not part of a definition, so that the definition of a production stack can be rehearsed unchanged.
The services and the variables with keys are AWS's; a second cloud brings its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rayform_core.errors import NotFoundError, PrerequisiteError, UsageError
from rayform_core.files import home, storage_error

__all__ = ["AWS", "Target", "emulated_cloud_is_up", "read_endpoints", "resolve_target"]

SERVICES = (
    "autoscaling",
    "ec2",
    "ecr",
    "iam",
    "kms",
    "rds",
    "resourcegroupstaggingapi",
    "s3",
    "secretsmanager",
    "servicequotas",
    "ssm",
    "sts",
)
"""The AWS services that Rayform talks to, by the names that the Terraform provider and endpoints files use."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place where a cloud's API answers.

    Args:
        name: `aws`, `localstack`, or the path of an endpoints file.
        endpoints: service to URL, as this machine reaches them; empty on AWS proper.
        node_endpoints: the same, as the stack's machines reach them.
        access_key, secret_key: keys of an emulator; on AWS proper, AWS's own chain finds the keys.
        region: the region that an emulator serves, if it serves only one.
        base_image: the image that step images start from, if no public one can be pulled there.
        provider: the cloud whose API it is; `clouds.cloud_of` looks it up.
        database_ca: PEM file with the CA of an emulator's databases.
    """

    name: str
    endpoints: dict[str, str] = field(default_factory=dict)
    node_endpoints: dict[str, str] = field(default_factory=dict)
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    region: str | None = None
    base_image: str | None = None
    provider: str = "aws"
    database_ca: Path | None = None

    @property
    def emulated(self) -> bool:
        """Whether this is an emulated cloud."""
        return bool(self.endpoints)

    def environment(self) -> dict[str, str]:
        """Variables that give a child process this target's keys; empty on AWS proper."""
        if self.access_key is None or self.secret_key is None:
            return {}
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


AWS = Target("aws")
"""AWS proper, with the credentials that its own chain finds."""


def resolve_target(name: str | None = None) -> Target:
    """Return the target called `name`, or the one in `$RAYFORM_TARGET`, or AWS proper.

    Args:
        name: `aws`; `localstack` for the emulated cloud of `rayform localstack up`; or the path of an
            endpoints file.

    Raises:
        PrerequisiteError: the emulated cloud is not up.
        NotFoundError: there is no such target.
        UsageError: the endpoints file is not valid.
    """
    name = name or os.environ.get("RAYFORM_TARGET") or "aws"
    if name == "aws":
        return AWS
    if name == "localstack":
        path = _emulated_endpoints()
        if not emulated_cloud_is_up():
            raise PrerequisiteError(
                "The emulated cloud is not up.",
                why=f"There is no {path}.",
                hint="Start it: rayform localstack up.",
            )
        return read_endpoints(path, name)
    if name.endswith(".json") or os.sep in name:
        path = Path(name).absolute()
        return read_endpoints(path, str(path))
    raise NotFoundError("target", name, known=["aws", "localstack"])


def emulated_cloud_is_up() -> bool:
    """Whether `rayform localstack up` has started an emulated cloud here, so that `localstack` is a target."""
    return _emulated_endpoints().exists()


def _emulated_endpoints() -> Path:
    return home() / "localstack" / "endpoints.json"


def read_endpoints(path: Path, name: str) -> Target:
    """Read a target from an endpoints file.

    The file is JSON: `services` (service to URL), and optionally `node_services` (service to the URL at which the
    stack's machines reach it), `region`, `access_key`, `secret_key`, `base_image`, `database_ca` (a PEM file).

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is not JSON of that form, or names a URL that is not HTTP.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise NotFoundError("endpoints file", str(path)) from None
    except OSError as error:
        raise storage_error(error, path) from error
    except ValueError as error:
        raise UsageError(f"The endpoints file {path} is not JSON.", why=f"{error}.") from error
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict) or not services:
        raise UsageError(
            f"The endpoints file {path} names no services.",
            hint='Write {"services": {"ec2": "http://…", …}}.',
        )
    return Target(
        name,
        _urls(services, path),
        _urls(data.get("node_services") or services, path),
        str(data.get("access_key") or "test"),
        str(data.get("secret_key") or "test"),
        data.get("region"),
        data.get("base_image"),
        database_ca=Path(data["database_ca"]) if data.get("database_ca") else None,
    )


def _urls(services: Mapping[str, object], path: Path) -> dict[str, str]:
    urls = {}
    for service, url in services.items():
        if (
            not isinstance(url, str)
            or urlsplit(url).scheme not in ("http", "https")
            or not urlsplit(url).hostname
        ):
            raise UsageError(f"{path}: the endpoint of '{service}' is not an HTTP address: {url!r}.")
        urls[service] = url.rstrip("/")
    return urls
