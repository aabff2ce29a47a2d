"""What a Ray worker's steps print, passed on through one pipe for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from rayform_runtime.execution.on_ray.channel import ChannelClient
from rayform_runtime.execution.on_ray.output import OutputPassing
from rayform_runtime.execution.on_ray.worker import _passed_on


class Recorded(ChannelClient):
    """A line that keeps what would be sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    @property
    def is_open(self) -> bool:
        """It always is."""
        return True

    def send(self, message: dict[str, Any]) -> None:
        """Keep it."""
        self.messages.append(message)

    def text(self, step: str) -> str:
        """What a step printed."""
        return "\n".join(m["text"] for m in self.messages if m["step"] == step)


@pytest.fixture
def line() -> Recorded:
    """An open line."""
    return Recorded()


def test_each_step_has_its_own_output_whole_and_in_order(line: Recorded) -> None:
    """Python, libraries and children are passed on by the time a step ends, its last line without a break too."""
    for step in ("one", "two"):
        with _passed_on(OutputPassing.of_this_process(), line, {"step": step, "try": 1}):
            os.write(1, f"{step} first\n".encode())
            subprocess.run([sys.executable, "-c", f"print('{step} child')"], check=True)
            os.write(2, f"{step} last".encode())
    for step in ("one", "two"):
        assert line.text(step).splitlines() == [f"{step} first", f"{step} child", f"{step} last"]


def test_messages_are_counted_for_each_step(line: Recorded) -> None:
    """The count is what the scheduler waits for; it begins anew with the next step, also where that prints nothing."""
    passing = OutputPassing.of_this_process()
    for step, lines in (("one", 3), ("two", 0), ("three", 1)):
        with _passed_on(passing, line, {"step": step}):
            for _ in range(lines):
                os.write(1, b"x\n")
        assert passing.sent == len([m for m in line.messages if m["step"] == step])


def test_steps_share_one_thread(line: Recorded) -> None:
    """A hundred steps start no more threads than one."""
    with _passed_on(OutputPassing.of_this_process(), line, {"step": "warm"}):
        pass
    before = threading.active_count()
    for number in range(100):
        with _passed_on(OutputPassing.of_this_process(), line, {"step": str(number)}):
            os.write(1, b"x\n")
    assert threading.active_count() == before
    assert [m["text"] for m in line.messages] == ["x"] * 100


def test_a_large_output_arrives_while_the_step_runs(line: Recorded) -> None:
    """More than a pipe holds never blocks the step, and nothing of it is lost."""
    with _passed_on(OutputPassing.of_this_process(), line, {"step": "large"}):
        for _ in range(100):
            os.write(1, b"y" * 9_999 + b"\n")
        deadline = time.monotonic() + 10
        while not line.messages and time.monotonic() < deadline:
            time.sleep(0.001)
        assert line.messages
    assert line.text("large").splitlines() == ["y" * 9_999] * 100


def test_a_child_that_prints_without_end_holds_nobody_up(line: Recorded) -> None:
    """What a process that the step left behind prints after the step's end is dropped."""
    with _passed_on(OutputPassing.of_this_process(), line, {"step": "left"}):
        child = subprocess.Popen(["yes"])
    try:
        said = len(line.messages)
        assert {m["step"] for m in line.messages} <= {"left"}
        time.sleep(0.05)  # the child goes on printing
        assert len(line.messages) == said
    finally:
        child.kill()
        child.wait()


def test_a_long_line_is_cut_between_characters(line: Recorded) -> None:
    """A line of megabytes comes in several messages, none of which begins or ends within a character."""
    written = "x" + "é" * 200_000 + "€" * 100_000
    with _passed_on(OutputPassing.of_this_process(), line, {"step": "long"}):
        data = written.encode()
        while data:
            data = data[os.write(1, data) :]
    assert len(line.messages) > 1
    assert "".join(m["text"] for m in line.messages) == written
