"""Runs `rayform` as a user starts it: in a process of its own, read line by line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


class Command:
    """`rayform` in a process of its own.

    Args:
        folder: its working folder.
        words: its arguments.
        stack: the value of its option `--stack`.
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
        """Read lines until one contains `part`, and return that one."""
        deadline = time.monotonic() + seconds
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if part in line:
                return line
            assert time.monotonic() < deadline, "".join(self.lines)
        raise AssertionError(f"ended without {part!r}:\n" + "".join(self.lines))

    def end(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and all output."""
        rest, _ = self.process.communicate(timeout=240)
        return self.process.returncode, "".join(self.lines) + rest

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
