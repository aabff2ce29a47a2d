"""The type of the fixture `command`: runs a program of this environment as a user would."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

__all__ = ["Command"]

Command = Callable[..., "subprocess.CompletedProcess[str]"]
