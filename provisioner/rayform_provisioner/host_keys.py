"""Learns the head's SSH host keys from the stack's bucket, where the head writes them under its own role.

So even the first connection is checked, and nobody between the laptop and the head can pose as the head. The
alternative, making the keys here and passing them in user data, was rejected: user data is no place for a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rayform_core.files import write_atomically
from rayform_provisioner.clouds import BucketObject, cloud_of
from rayform_provisioner.polling import wait_until
from rayform_provisioner.stack_folder import StackFolder
from rayform_provisioner.targets import Target

__all__ = ["head_address", "learn_host_keys"]

KEY = "system/head/ssh_host_keys.json"
_PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/=]+")


def head_address(outputs: Mapping[str, Any]) -> str:
    """Return the address at which users reach the head: its public one, or with `private_head` its own in the VPC."""
    return str(outputs.get("head_public_ip") or outputs["head_private_ip"])


def learn_host_keys(target: Target, folder: StackFolder, outputs: Mapping[str, Any], timeout: float) -> bool:
    """Write the head's keys into the stack's `known_hosts`; wait up to `timeout` seconds for them.

    Return whether the keys of this very head were there.
    """
    cloud = cloud_of(target.provider)
    place = BucketObject(outputs["region"], outputs["bucket"], KEY)
    keys: list[str] = []

    def read() -> bool:
        published = cloud.read_object(target, place)
        if published is None:
            return False
        head = json.loads(published.content[:100_000])
        if head.get("instance_id") != outputs["head_instance_id"]:
            return False  # an earlier head wrote them
        keys[:] = [match.group(0) for key in head.get("keys", []) if (match := _PUBLIC_KEY.match(str(key)))]
        return bool(keys)

    if not wait_until(read, timeout, pause=0.5):
        return False
    lines = [f"{head_address(outputs)} {key}" for key in keys]
    write_atomically(folder.known_hosts, "\n".join(lines) + "\n")
    return True
