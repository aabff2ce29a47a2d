"""The keys of this machine's emulated cloud, for clients of its endpoints.

A stack's components name the emulator's endpoint but never its keys. AWS's own chain of credentials doesn't know them
either: the keys that it finds belong to another cloud.
"""

from __future__ import annotations

import json
from typing import TypedDict
from urllib.parse import urlsplit

from rayform_core.files import home

__all__ = ["Keys", "keys_for"]


class Keys(TypedDict, total=False):
    """The credentials that boto3's `client` takes; empty if boto3's own chain should find them."""

    aws_access_key_id: str
    aws_secret_access_key: str


def keys_for(endpoint_url: str | None) -> Keys:
    """Return the keys of the emulated cloud that serves `endpoint_url`; empty for every other endpoint.

    Args:
        endpoint_url: the address of an AWS API; `None` for AWS proper.

    Example:
        >>> keys_for(None)
        {}
    """
    if endpoint_url is None:
        return {}
    try:
        data = json.loads((home() / "localstack" / "endpoints.json").read_text())
        addresses = {urlsplit(str(url)).netloc for url in data["services"].values()}
        keys = Keys(aws_access_key_id=data["access_key"], aws_secret_access_key=data["secret_key"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # no emulated cloud is up; the stack's own machines are in this case and use their role
    return keys if urlsplit(endpoint_url).netloc in addresses else {}
