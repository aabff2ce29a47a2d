"""Who works on this machine, for histories."""

from __future__ import annotations

import getpass

__all__ = ["current_user"]


def current_user() -> str | None:
    """Return the login name of the person, or `None` where the system knows none (as in some containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None
