"""Passes on what a Ray worker's steps print, line by line. All steps of a worker share one pipe and one thread.

A pipe and a thread for each step would make a step of a few milliseconds a tenth slower.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading

from rayform_runtime.execution.on_ray.channel import ChannelClient
from rayform_runtime.execution.on_ray.messages import Printed, StepTry, WorkerMessage

__all__ = ["OutputPassing"]

_BATCH_BYTES = 64 * 1024
_PATIENCE = 1.0
"""Seconds that the end of a step waits for a scheduler that reads slowly."""


class OutputPassing:
    """Sends what is written to descriptors 1 and 2 between `begin` and `end`, by Python, any library or any child."""

    _of_process: OutputPassing | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._lock = threading.Lock()
        self._target: tuple[ChannelClient, StepTry] | None = None
        """Where output goes, and the step that it belongs to; `None` between steps."""
        self._rest = b""
        """The begun last line, which waits for its end."""
        self.sent = 0
        """How many messages were sent since `begin`."""
        threading.Thread(target=self._work, name="rayform-output", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> OutputPassing:
        """Return this process's own. A fork makes another one, since it has no threads."""
        if cls._of_process is None or cls._of_process._pid != os.getpid():
            cls._of_process = cls()
        return cls._of_process

    def begin(self, client: ChannelClient, about: StepTry) -> None:
        """Lead both descriptors here, and send what is written from now on.

        Args:
            client: where to send it.
            about: the step that prints it.
        """
        with self._lock:
            self._pass_on(self._waiting())  # what a child of an earlier step printed after that step's end
            if self._rest:
                self._send(self._rest)
            self._rest = b""
            self._target = client, about
            self.sent = 0
        for descriptor in (1, 2):
            os.dup2(self._writer, descriptor)

    def end(self) -> None:
        """Send what was written until now, and then nothing more. The caller has put the descriptors back."""
        if not self._lock.acquire(timeout=_PATIENCE):
            return  # the scheduler has stopped reading; the thread continues with what it has
        try:
            self._pass_on(self._waiting())
            if self._rest:
                self._send(self._rest)
            self._target, self._rest = None, b""
        finally:
            self._lock.release()

    def _waiting(self) -> int:
        """Return how many bytes are in the pipe: a child that prints without end must not keep its step from ending."""
        count: int = struct.unpack("i", fcntl.ioctl(self._reader, termios.FIONREAD, b"\0" * 4))[0]
        return count

    def _work(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            poll.poll()
            with self._lock:
                self._pass_on(_BATCH_BYTES)

    def _pass_on(self, most: int) -> None:
        while most > 0:
            try:
                chunk = os.read(self._reader, min(most, _BATCH_BYTES))
            except BlockingIOError:
                return  # the other thread has read it
            most -= len(chunk)
            if self._target is None:
                continue
            whole, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
            if newline:
                self._send(whole)
            elif len(self._rest) > _BATCH_BYTES:
                length = _length_in_characters(self._rest)
                self._send(self._rest[:length])
                self._rest = self._rest[length:]

    def _send(self, text: bytes) -> None:
        if self._target is not None:
            client, about = self._target
            self.sent += 1
            client.send(WorkerMessage(about, Printed(text.decode(errors="replace"))))


def _length_in_characters(text: bytes) -> int:
    """Return how much of some UTF-8 ends with a whole character.

    Example:
        >>> _length_in_characters("né".encode()), _length_in_characters("né".encode()[:2])
        (3, 1)
    """
    for back in range(1, min(4, len(text)) + 1):
        first = text[-back]
        if first & 0xC0 != 0x80:  # the first byte of a character
            length = 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
            return len(text) - back if length > back else len(text)
    return len(text)
