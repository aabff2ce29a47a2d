"""Learns the head's SSH host keys from the stack's bucket, where the head wrote them by its own role.

So the first connection is checked already: nobody between laptop and head can pose as the head. Keys made here
and handed over in user data were rejected: user data is no place for a secret.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rayform_core.files import write_atomically
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.aws.inventory import wait_until
from rayform_provisioner.stack_folder import StackFolder
from rayform_provisioner.targets import Target

__all__ = ["learn_host_keys"]

KEY = "system/head/ssh_host_keys.json"
_PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/=]+")


def learn_host_keys(target: Target, folder: StackFolder, outputs: dict[str, Any], timeout: float) -> bool:
    """Write the head's keys into the stack's `known_hosts`; wait up to `timeout` seconds for them.

    Returns whether the keys of this very head were there.
    """
    from botocore.exceptions import ClientError

    s3 = target.client("s3", outputs["region"])
    found: list[str] = []

    def there() -> bool:
        try:
            told = json.loads(s3.get_object(Bucket=outputs["bucket"], Key=KEY)["Body"].read(100_000))
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                return False
            raise
        if told.get("instance_id") != outputs["head_instance_id"]:
            return False  # of the head before this one
        found[:] = [match.group(0) for key in told.get("keys", []) if (match := _PUBLIC_KEY.match(str(key)))]
        return bool(found)

    with aws_calls(target):
        if not wait_until(there, timeout, pause=0.5):
            return False
    lines = [f"{outputs['head_public_ip']} {key}" for key in found]
    write_atomically(folder.known_hosts, "\n".join(lines) + "\n")
    return True
