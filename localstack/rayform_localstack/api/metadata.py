"""The instance metadata service, version 2 alone: who asks is told by the address that asks.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from rayform_localstack.api.backends import Backends
from rayform_localstack.api.moto_parts import part

__all__ = ["MetadataService"]

CREDENTIAL_SECONDS = 6 * 3600
RENEW_BEFORE = 15 * 60
MAX_TTL = 21600

Body = tuple[int, str, bytes]


class MetadataService:
    """A WSGI application that answers as 169.254.169.254 does.

    Args:
        backends: what there is.
        endpoint: URL of the API, for the machine's own facts.
    """

    def __init__(self, backends: Backends, endpoint: str) -> None:
        self.backends = backends
        self.endpoint = endpoint
        self._tokens: dict[str, tuple[str, float]] = {}
        self._credentials: dict[str, tuple[Any, float]] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = self._answer(environ)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Server", "EC2ws")]
        if status == 404 and kind == "x-rayform/unknown":
            headers = [("X-Rayform-Unknown", "1"), ("Content-Length", str(len(body)))]
        words = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
        start_response(f"{status} {words.get(status, 'Error')}", headers)
        return [body]

    def _answer(self, environ: dict[str, Any]) -> Body:
        instance = self.backends.instance_at(environ["REMOTE_ADDR"])
        if instance is None:
            return 404, "x-rayform/unknown", b"no instance has this address\n"
        path, method = environ.get("PATH_INFO", "/"), environ["REQUEST_METHOD"]
        if path == "/rayform/boot" and method == "PUT":
            return self._booted(instance, environ)
        if environ.get("HTTP_X_FORWARDED_FOR"):
            return 403, "text/plain", b""
        if path == "/latest/api/token":
            return self._token(instance, environ) if method == "PUT" else (403, "text/plain", b"")
        if not self._known(instance, environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN", "")):
            return 401, "text/plain", b"Unauthorized: this instance takes requests of version 2 alone\n"
        if method not in {"GET", "HEAD"} or not path.startswith("/latest"):
            return 404, "text/plain", b""
        return self._find(instance, path.removeprefix("/latest").strip("/"))

    def _token(self, instance: Any, environ: dict[str, Any]) -> Body:
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

    def _known(self, instance: Any, token: str) -> bool:
        owner, until = self._tokens.get(token, ("", 0.0))
        return owner == instance.id and until > time.monotonic()

    def _booted(self, instance: Any, environ: dict[str, Any]) -> Body:
        length = min(int(environ.get("CONTENT_LENGTH") or 0), 4096)
        try:
            facts = json.loads(environ["wsgi.input"].read(length))
        except ValueError:
            return 400, "text/plain", b""
        if not isinstance(facts, dict):
            return 400, "text/plain", b""
        known = {k: facts[k] for k in ("phase", "code", "seconds", "error", "again") if k in facts}
        self.backends.boots[instance.id] = {**known, "at": time.time()}
        self.backends.changes.bump()
        return 200, "text/plain", b""

    def _find(self, instance: Any, path: str) -> Body:
        if path == "user-data":
            data = _user_data(instance)
            return (200, "application/octet-stream", data) if data else (404, "text/plain", b"")
        if path == "rayform/machine":
            return 200, "application/json", json.dumps(self._machine(instance)).encode()
        if path == "meta-data/public-keys":
            listed = f"0={instance.key_name}" if self.backends.public_keys(instance) else ""
            return (200, "text/plain", listed.encode()) if listed else (404, "text/plain", b"")
        node: Any = self._tree(instance)
        for name in [p for p in path.split("/") if p]:
            if not isinstance(node, dict) or name not in node:
                return 404, "text/plain", b""
            node = node[name]
            node = node() if callable(node) else node
        if node is None:
            return 404, "text/plain", b""
        if isinstance(node, dict):
            names = [
                f"{name}/" if isinstance(value, dict) else name
                for name, value in node.items()
                if value is not None
            ]
            return 200, "text/plain", "\n".join(names).encode()
        if isinstance(node, (list, tuple)):
            return 200, "application/json", json.dumps(node[0]).encode()
        return 200, "text/plain", str(node).encode()

    def _machine(self, instance: Any) -> dict[str, Any]:
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

    def _tree(self, instance: Any) -> dict[str, Any]:
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

    def _keys(self, instance: Any) -> dict[str, Any] | None:
        keys = self.backends.public_keys(instance)
        return {"0": {"openssh-key": keys[0]}} if keys else None

    def _identity(self, instance: Any) -> dict[str, Any]:
        launched = instance.launch_time
        return {
            "accountId": instance.owner_id,
            "architecture": "x86_64",
            "availabilityZone": instance._placement.zone,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "pendingTime": launched.strftime("%Y-%m-%dT%H:%M:%SZ")
            if hasattr(launched, "strftime")
            else str(launched),
            "privateIp": instance.private_ip,
            "region": instance.region_name,
            "version": "2017-09-30",
        }

    def _profile(self, profile: tuple[Any, Any]) -> dict[str, str]:
        return {
            "Code": "Success",
            "LastUpdated": _stamp(time.time()),
            "InstanceProfileArn": str(profile[0].arn),
            "InstanceProfileId": str(profile[0].id),
        }

    def _credentials_of(self, instance: Any, role: Any) -> dict[str, str]:
        """Return the role's credentials, renewed well before they end."""
        sts_backends = part("sts.models:sts_backends")

        key = f"{instance.id}/{role.arn}"
        with self._lock:
            kept, until = self._credentials.get(key, (None, 0.0))
            if kept is None or until - time.time() < RENEW_BEFORE:
                kept = sts_backends[instance.owner_id]["aws"].assume_role(
                    region_name=instance.region_name,
                    role_session_name=instance.id,
                    role_arn=role.arn,
                    policy="",
                    duration=CREDENTIAL_SECONDS,
                    external_id="",
                )
                until = time.time() + CREDENTIAL_SECONDS
                self._credentials[key] = (kept, until)
        return {
            "Code": "Success",
            "LastUpdated": _stamp(time.time()),
            "Type": "AWS-HMAC",
            "AccessKeyId": kept.access_key_id,
            "SecretAccessKey": kept.secret_access_key,
            "Token": kept.session_token,
            "Expiration": _stamp(until),
        }


def _stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _host_name(instance: Any) -> str:
    domain = (
        "ec2.internal" if instance.region_name == "us-east-1" else f"{instance.region_name}.compute.internal"
    )
    return f"ip-{instance.private_ip.replace('.', '-')}.{domain}"


def _interface(instance: Any, interface: Any) -> dict[str, Any]:
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


def _user_data(instance: Any) -> bytes:
    """Return an instance's user data as it was given, before the API's base64."""
    data = instance.user_data
    if not data:
        return b""
    text = data if isinstance(data, bytes) else str(data).encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text
