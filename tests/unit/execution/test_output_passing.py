"""What a Ray worker's steps print, passed on through one pipe for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from rayform_runtime.execution.on_ray.channel import ChannelClient
from rayform_runtime.execution.on_ray.messages import Printed, StepTry, WorkerMessage
from rayform_runtime.execution.on_ray.output import OutputPassing
from rayform_runtime.execution.on_ray.worker import _output_passed_on


class Recorded(ChannelClient):
    """A line that keeps what would be sent: steps and their text."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    @property
    def is_open(self) -> bool:
        """It always is."""
        return True

    def send(self, message: WorkerMessage) -> None:
        """Keep it."""
        assert isinstance(message.content, Printed)
        self.messages.append((message.about.step_run_id, message.content.text))

    def text(self, step: str) -> str:
        """What a step printed."""
        return "\n".join(text for printing, text in self.messages if printing == step)


@pytest.fixture
def line() -> Recorded:
    """An open line."""
    return Recorded()


def test_each_step_has_its_own_output_whole_and_in_order(line: Recorded) -> None:
    """Python, libraries and children are passed on by the time a step ends, its last line without a break too."""
    for step in ("one", "two"):
        with _output_passed_on(OutputPassing.of_this_process(), line, StepTry(step, 1)):
            os.write(1, f"{step} first\n".encode())
            subprocess.run([sys.executable, "-c", f"print('{step} child')"], check=True)
            os.write(2, f"{step} last".encode())
    for step in ("one", "two"):
        assert line.text(step).splitlines() == [f"{step} first", f"{step} child", f"{step} last"]


def test_messages_are_counted_for_each_step(line: Recorded) -> None:
    """The count is what the scheduler waits for; it starts again with the next step, even if that prints nothing."""
    passing = OutputPassing.of_this_process()
    for step, lines in (("one", 3), ("two", 0), ("three", 1)):
        with _output_passed_on(passing, line, StepTry(step, 1)):
            for _ in range(lines):
                os.write(1, b"x\n")
        assert passing.sent == len([text for printing, text in line.messages if printing == step])


def test_steps_share_one_thread(line: Recorded) -> None:
    """A hundred steps start no more threads than one."""
    with _output_passed_on(OutputPassing.of_this_process(), line, StepTry("warm", 1)):
        pass
    before = threading.active_count()
    for number in range(100):
        with _output_passed_on(OutputPassing.of_this_process(), line, StepTry(str(number), 1)):
            os.write(1, b"x\n")
    assert threading.active_count() == before
    assert [text for _, text in line.messages] == ["x"] * 100


def test_a_large_output_arrives_while_the_step_runs(line: Recorded) -> None:
    """More than a pipe holds never blocks the step, and nothing of it is lost."""
    with _output_passed_on(OutputPassing.of_this_process(), line, StepTry("large", 1)):
        for _ in range(100):
            os.write(1, b"y" * 9_999 + b"\n")
        deadline = time.monotonic() + 10
        while not line.messages and time.monotonic() < deadline:
            time.sleep(0.001)
        assert line.messages
    assert line.text("large").splitlines() == ["y" * 9_999] * 100


def test_a_child_that_prints_without_end_holds_nobody_up(line: Recorded) -> None:
    """What a process that the step left behind prints after the step's end is dropped."""
    with _output_passed_on(OutputPassing.of_this_process(), line, StepTry("left", 1)):
        child = subprocess.Popen(["yes"])
    try:
        count = len(line.messages)
        assert {step for step, _ in line.messages} <= {"left"}
        time.sleep(0.05)  # the child goes on printing
        assert len(line.messages) == count
    finally:
        child.kill()
        child.wait()


def test_a_long_line_is_cut_between_characters(line: Recorded) -> None:
    """A line of megabytes comes in several messages, none of which begins or ends within a character."""
    written = "x" + "é" * 200_000 + "€" * 100_000
    with _output_passed_on(OutputPassing.of_this_process(), line, StepTry("long", 1)):
        data = written.encode()
        while data:
            data = data[os.write(1, data) :]
    assert len(line.messages) > 1
    assert "".join(text for _, text in line.messages) == written
