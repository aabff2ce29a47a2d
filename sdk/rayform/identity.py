"""The user of this machine, for the catalog's history."""

from __future__ import annotations

import getpass

__all__ = ["current_user"]


def current_user() -> str | None:
    """Return the login name of the user; `None` if the system has none (as in some containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None
