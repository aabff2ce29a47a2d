"""The machine's identity, by the instance metadata service (version 2).

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from dataclasses import dataclass

from rayform_core.errors import RemoteError

__all__ = ["InstanceFacts", "instance_facts", "spot_notice"]

_SERVICE = "http://169.254.169.254/latest"


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """The instance's ID and its private address."""

    instance_id: str
    private_ip: str


def instance_facts() -> InstanceFacts:
    """Return this machine's ID and private address.

    Raises:
        RemoteError: the metadata service doesn't answer.
    """
    try:
        token = _token()
        return InstanceFacts(_get("meta-data/instance-id", token), _get("meta-data/local-ipv4", token))
    except (OSError, ValueError) as error:
        raise RemoteError("The instance metadata service doesn't answer.", why=f"{error}.") from error


def spot_notice() -> str | None:
    """Return the cloud's notice that it takes this spot machine back, or `None` if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return _get("meta-data/spot/instance-action", _token())
    return None


def _token() -> str:
    request = urllib.request.Request(  # noqa: S310 - the fixed address of the metadata service
        f"{_SERVICE}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the metadata service's fixed address
        return str(answer.read().decode())


def _get(path: str, token: str) -> str:
    request = urllib.request.Request(  # noqa: S310 - the metadata service's fixed address
        f"{_SERVICE}/{path}", headers={"X-aws-ec2-metadata-token": token}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the metadata service's fixed address
        return str(answer.read().decode())
