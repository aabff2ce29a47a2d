"""Passes on what a Ray worker's steps print, line by line, from one pipe and one thread for all of its steps.

A pipe and a thread for each step cost a step of a few milliseconds a tenth of them.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
from typing import Any

from rayform_runtime.execution.on_ray.channel import ChannelClient

__all__ = ["OutputPassing"]

_BATCH_BYTES = 64 * 1024
_PATIENCE = 1.0
"""Seconds that the end of a step waits for a scheduler that reads slowly."""


class OutputPassing:
    """Sends what is written to descriptors 1 and 2 between `begin` and `end`, by whichever library or child."""

    _known: OutputPassing | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._lock = threading.Lock()
        self._client: ChannelClient | None = None
        self._told: dict[str, Any] = {}
        self._rest = b""
        self.sent = 0
        """How many messages were sent since `begin`."""
        threading.Thread(target=self._work, name="rayform-output", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> OutputPassing:
        """Return the one of this process; made with the first step, and anew in a fork, which has no threads."""
        if cls._known is None or cls._known._pid != os.getpid():
            cls._known = cls()
        return cls._known

    def begin(self, client: ChannelClient, told: dict[str, Any]) -> None:
        """Lead both descriptors here, and send what comes from now on.

        Args:
            client: where to.
            told: what each message says of the step.
        """
        with self._lock:
            self._pass_on(self._waiting())  # what a child of an earlier step printed after its end
            if self._rest:
                self._send(self._rest)
            self._rest = b""
            self._client, self._told = client, told
            self.sent = 0
        for descriptor in (1, 2):
            os.dup2(self._writer, descriptor)

    def end(self) -> None:
        """Send what was written until now, and then nothing more; the caller has put the descriptors back."""
        if not self._lock.acquire(timeout=_PATIENCE):
            return  # the scheduler has stopped reading; the thread goes on with what it has
        try:
            self._pass_on(self._waiting())
            if self._rest:
                self._send(self._rest)
            self._client, self._rest = None, b""
        finally:
            self._lock.release()

    def _waiting(self) -> int:
        """How many bytes lie in the pipe: a child that prints without end must not keep its step from ending."""
        found: int = struct.unpack("i", fcntl.ioctl(self._reader, termios.FIONREAD, b"\0" * 4))[0]
        return found

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
                return  # the other thread had it
            most -= len(chunk)
            if self._client is None:
                continue
            whole, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
            if newline:
                self._send(whole)
            elif len(self._rest) > _BATCH_BYTES:
                length = _length_in_characters(self._rest)
                self._send(self._rest[:length])
                self._rest = self._rest[length:]

    def _send(self, text: bytes) -> None:
        if self._client is not None:
            self.sent += 1
            self._client.send({**self._told, "kind": "log", "text": text.decode(errors="replace")})


def _length_in_characters(text: bytes) -> int:
    """Return how much of some UTF-8 ends with a whole character.

    Example:
        >>> _length_in_characters("né".encode()), _length_in_characters("né".encode()[:2])
        (3, 1)
    """
    for back in range(1, min(4, len(text)) + 1):
        first = text[-back]
        if first & 0xC0 != 0x80:  # no byte that goes on with a character
            wanted = 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
            return len(text) - back if wanted > back else len(text)
    return len(text)
