"""Which hosts are this machine, and which may get a cloud's access token."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["is_google_api", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine: a loopback address, `localhost`, or a socket's folder."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_google_api(url: str) -> bool:
    """Return whether a URL is one of Google's APIs, by TLS, or an emulator on this machine.

    Google's clients send an access token with each request, and whoever gets it may use it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return is_loopback(host) or (parts.scheme == "https" and host.endswith(".googleapis.com"))
