"""`rayform` as a person starts it: a process of its own, read line by line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


class Command:
    """`rayform` in a process of its own.

    Args:
        folder: where it is started.
        words: its arguments.
        stack: which stack it is told.
    """

    def __init__(self, folder: Path, *words: str, stack: str = "emulated") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rayform.cli", *words, "--stack", stack],
            cwd=folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def until(self, part: str, seconds: float = 120) -> str:
        """Read on until a line has this part."""
        deadline = time.monotonic() + seconds
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if part in line:
                return line
            assert time.monotonic() < deadline, "".join(self.lines)
        raise AssertionError(f"ended without {part!r}:\n" + "".join(self.lines))

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and all that was printed."""
        rest, _ = self.process.communicate(timeout=240)
        return self.process.returncode, "".join(self.lines) + rest

    def close(self) -> None:
        """End it, if it runs still."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
