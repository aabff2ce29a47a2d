"""The user of this machine, whom the catalog's history names."""

from __future__ import annotations

import getpass

__all__ = ["current_user"]


def current_user() -> str | None:
    """Return the login name of the user; `None` if the system has none (as in some containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None
