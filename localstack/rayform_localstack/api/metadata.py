"""The instance metadata service, version 2 alone. It knows an instance by the address that a request comes from.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, Union
from wsgiref.types import StartResponse, WSGIEnvironment

from rayform_localstack.api.backends import Backends
from rayform_localstack.api.moto_parts import InstanceRow, InterfaceRow, ProfileRow, RoleRow, part
from rayform_localstack.desired import BootReport

__all__ = ["MetadataService"]

CREDENTIAL_SECONDS = 6 * 3600
RENEW_BEFORE = 15 * 60
MAX_TTL = 21600

Body = tuple[int, str, bytes]
"""Status, content type and content of an answer."""

Node = Union[str, None, "list[Mapping[str, object]]", "Mapping[str, Node]", "Callable[[], Node]"]
"""A place in the tree of metadata: a folder, a text, a JSON document as the only item of a list, a function that
returns one of these when it is asked for, or `None` for a place that isn't there."""


class _Credentials(Protocol):
    access_key_id: str
    secret_access_key: str
    session_token: str


class MetadataService:
    """A WSGI application that answers as 169.254.169.254 does.

    Args:
        backends: the cloud's state.
        endpoint: URL of the API, which a machine finds under `rayform/machine`.
    """

    def __init__(self, backends: Backends, endpoint: str) -> None:
        self.backends = backends
        self.endpoint = endpoint
        self._tokens: dict[str, tuple[str, float]] = {}
        self._credentials: dict[str, tuple[_Credentials, float]] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body = self._answer(environ)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Server", "EC2ws")]
        if status == 404 and kind == "x-rayform/unknown":
            headers = [("X-Rayform-Unknown", "1"), ("Content-Length", str(len(body)))]
        words = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
        start_response(f"{status} {words.get(status, 'Error')}", headers)
        return [body]

    def _answer(self, environ: WSGIEnvironment) -> Body:
        instance = self.backends.instance_at(environ["REMOTE_ADDR"])
        if instance is None:
            return 404, "x-rayform/unknown", b"No instance has this address.\n"
        path, method = environ.get("PATH_INFO", "/"), environ["REQUEST_METHOD"]
        if path == "/rayform/boot" and method == "PUT":
            return self._report_boot(instance, environ)
        if environ.get("HTTP_X_FORWARDED_FOR"):
            return 403, "text/plain", b""
        if path == "/latest/api/token":
            return self._token(instance, environ) if method == "PUT" else (403, "text/plain", b"")
        if not self._is_valid_token(instance, environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN", "")):
            return 401, "text/plain", b"Unauthorized: this service takes requests of version 2 alone.\n"
        if method not in {"GET", "HEAD"} or not path.startswith("/latest"):
            return 404, "text/plain", b""
        return self._find(instance, path.removeprefix("/latest").strip("/"))

    def _token(self, instance: InstanceRow, environ: WSGIEnvironment) -> Body:
        try:
            seconds = int(environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", ""))
        except ValueError:
            return 400, "text/plain", b""
        if not 1 <= seconds <= MAX_TTL:
            return 400, "text/plain", b""
        token = secrets.token_urlsafe(42)
        with self._lock:
            now = time.monotonic()
            self._tokens = {k: v for k, v in self._tokens.items() if v[1] > now}
            self._tokens[token] = (instance.id, now + seconds)
        return 200, "text/plain", token.encode()

    def _is_valid_token(self, instance: InstanceRow, token: str) -> bool:
        owner, until = self._tokens.get(token, ("", 0.0))
        return owner == instance.id and until > time.monotonic()

    def _report_boot(self, instance: InstanceRow, environ: WSGIEnvironment) -> Body:
        length = min(int(environ.get("CONTENT_LENGTH") or 0), 4096)
        try:
            facts = json.loads(environ["wsgi.input"].read(length))
        except ValueError:
            return 400, "text/plain", b""
        if not isinstance(facts, dict):
            return 400, "text/plain", b""
        report: BootReport = {"at": time.time()}
        for name in ("phase", "code", "seconds", "error", "again"):
            if name in facts:
                report[name] = facts[name]
        self.backends.boots[instance.id] = report
        self.backends.changes.bump()
        return 200, "text/plain", b""

    def _find(self, instance: InstanceRow, path: str) -> Body:
        if path == "user-data":
            data = _user_data(instance)
            return (200, "application/octet-stream", data) if data else (404, "text/plain", b"")
        if path == "rayform/machine":
            return 200, "application/json", json.dumps(self._machine(instance)).encode()
        if path == "meta-data/public-keys":
            listed = f"0={instance.key_name}" if self.backends.public_keys(instance) else ""
            return (200, "text/plain", listed.encode()) if listed else (404, "text/plain", b"")
        node: Node = self._tree(instance)
        for name in [p for p in path.split("/") if p]:
            if not isinstance(node, Mapping) or name not in node:
                return 404, "text/plain", b""
            child = node[name]
            node = child if child is None or isinstance(child, (str, list, Mapping)) else child()
        return _answer_with(node)

    def _machine(self, instance: InstanceRow) -> dict[str, object]:
        return {
            "instance_id": instance.id,
            "instance_type": instance.instance_type,
            "private_ip": instance.private_ip,
            "region": instance.region_name,
            "lifecycle": instance.lifecycle or "on-demand",
            "endpoint_url": self.endpoint,
            "public_keys": self.backends.public_keys(instance),
            **self.backends.machine(instance),
        }

    def _tree(self, instance: InstanceRow) -> dict[str, Node]:
        tags = {t["key"]: t["value"] for t in instance.get_tags()}
        profile = self.backends.profile_role(instance)
        interruption = self.backends.interruptions.get(instance.id)
        interface = instance.nics[0]
        return {
            "dynamic": {"instance-identity": {"document": lambda: [self._identity(instance)]}},
            "meta-data": {
                "ami-id": instance.image_id,
                "ami-launch-index": str(instance.ami_launch_index),
                "events": {
                    "recommendations": {
                        "rebalance": [{"noticeTime": interruption["notice"]}] if interruption else None
                    }
                },
                "hostname": _host_name(instance),
                "iam": {
                    "info": [self._profile(profile)],
                    "security-credentials": {
                        profile[1].name: lambda: [self._credentials_of(instance, profile[1])]
                    },
                }
                if profile
                else None,
                "instance-action": "none",
                "instance-id": instance.id,
                "instance-life-cycle": instance.lifecycle or "on-demand",
                "instance-type": instance.instance_type,
                "local-hostname": _host_name(instance),
                "local-ipv4": instance.private_ip,
                "mac": interface.mac_address,
                "network": {"interfaces": {"macs": {interface.mac_address: _interface(instance, interface)}}},
                "placement": {
                    "availability-zone": instance._placement.zone,
                    "region": instance.region_name,
                },
                "public-hostname": instance.public_ip,
                "public-ipv4": instance.public_ip,
                "public-keys": self._keys(instance),
                "security-groups": "\n".join(g.name for g in instance.security_groups),
                "services": {"domain": "amazonaws.com", "partition": "aws"},
                "spot": {
                    "instance-action": [{"action": interruption["action"], "time": interruption["time"]}],
                    "termination-time": interruption["time"],
                }
                if interruption
                else None,
                "tags": {"instance": tags or None},
            },
        }

    def _keys(self, instance: InstanceRow) -> dict[str, Node] | None:
        keys = self.backends.public_keys(instance)
        return {"0": {"openssh-key": keys[0]}} if keys else None

    def _identity(self, instance: InstanceRow) -> dict[str, object]:
        launched = instance.launch_time
        return {
            "accountId": instance.owner_id,
            "architecture": "x86_64",
            "availabilityZone": instance._placement.zone,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "pendingTime": launched if isinstance(launched, str) else launched.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": instance.private_ip,
            "region": instance.region_name,
            "version": "2017-09-30",
        }

    def _profile(self, profile: tuple[ProfileRow, RoleRow]) -> dict[str, object]:
        return {
            "Code": "Success",
            "LastUpdated": _stamp(time.time()),
            "InstanceProfileArn": str(profile[0].arn),
            "InstanceProfileId": str(profile[0].id),
        }

    def _credentials_of(self, instance: InstanceRow, role: RoleRow) -> dict[str, object]:
        """Return the role's credentials; new ones well before they expire."""
        sts_backends = part("sts.models:sts_backends")

        key = f"{instance.id}/{role.arn}"
        with self._lock:
            credentials, until = self._credentials.get(key, (None, 0.0))
            if credentials is None or until - time.time() < RENEW_BEFORE:
                credentials = sts_backends[instance.owner_id]["aws"].assume_role(
                    region_name=instance.region_name,
                    role_session_name=instance.id,
                    role_arn=role.arn,
                    policy="",
                    duration=CREDENTIAL_SECONDS,
                    external_id="",
                )
                until = time.time() + CREDENTIAL_SECONDS
                self._credentials[key] = (credentials, until)
        return {
            "Code": "Success",
            "LastUpdated": _stamp(time.time()),
            "Type": "AWS-HMAC",
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": credentials.session_token,
            "Expiration": _stamp(until),
        }


def _answer_with(node: Node) -> Body:
    """Return the answer for a place in the tree: a folder lists its names."""
    match node:
        case None:
            return 404, "text/plain", b""
        case Mapping():
            names = [
                f"{name}/" if isinstance(value, Mapping) else name
                for name, value in node.items()
                if value is not None
            ]
            return 200, "text/plain", "\n".join(names).encode()
        case [document]:
            return 200, "application/json", json.dumps(document).encode()
        case _:
            return 200, "text/plain", str(node).encode()


def _stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _host_name(instance: InstanceRow) -> str:
    domain = (
        "ec2.internal" if instance.region_name == "us-east-1" else f"{instance.region_name}.compute.internal"
    )
    return f"ip-{instance.private_ip.replace('.', '-')}.{domain}"


def _interface(instance: InstanceRow, interface: InterfaceRow) -> dict[str, Node]:
    return {
        "device-number": "0",
        "interface-id": interface.id,
        "local-ipv4s": instance.private_ip,
        "mac": interface.mac_address,
        "public-ipv4s": instance.public_ip,
        "subnet-id": instance.subnet_id,
        "subnet-ipv4-cidr-block": interface.subnet.cidr_block,
        "vpc-id": instance.vpc_id,
        "vpc-ipv4-cidr-block": instance.ec2_backend.vpcs[instance.vpc_id].cidr_block,
    }


def _user_data(instance: InstanceRow) -> bytes:
    """Return an instance's user data without the API's base64."""
    data = instance.user_data
    if not data:
        return b""
    text = data if isinstance(data, bytes) else str(data).encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text
