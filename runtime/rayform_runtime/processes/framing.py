"""Messages between processes of one machine: pickles with a length before them, over a stream socket.

Both ends are processes of one user that Rayform itself started, on an unnamed socket pair. So pickle, which runs what
it reads, never reads a stranger's data.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["FrameReader", "FrameWriter", "pack", "receive", "send"]

_HEADER = struct.Struct("!Q")

Message = TypeVar("Message")


class Receiver(Protocol):
    """The part of a socket that a `FrameReader` reads."""

    def recv(self, size: int, flags: int, /) -> bytes:
        """Return what has arrived, as `socket.socket.recv` does."""
        ...


def pack(message: object) -> bytes:
    """Return `message` as one frame."""
    body = pickle.dumps(message, protocol=5)
    return _HEADER.pack(len(body)) + body


def send(sock: socket.socket, message: object) -> None:
    """Write one frame to a blocking socket.

    Raises:
        OSError: the other end is gone.
    """
    sock.sendall(pack(message))


def _receive_exactly(sock: socket.socket, count: int) -> bytes | None:
    chunks = bytearray()
    while len(chunks) < count:
        chunk = sock.recv(min(count - len(chunks), 1 << 20))
        if not chunk:
            return None
        chunks += chunk
    return bytes(chunks)


def receive(sock: socket.socket) -> Any | None:
    """Block for one frame; return `None` once the other end is gone."""
    header = _receive_exactly(sock, _HEADER.size)
    if header is None:
        return None
    body = _receive_exactly(sock, _HEADER.unpack(header)[0])
    return None if body is None else pickle.loads(body)  # noqa: S301 - see the module's docstring


class FrameReader(Generic[Message]):
    """Takes frames from a socket without ever blocking.

    Args:
        sock: a blocking socket; it is read with `MSG_DONTWAIT`.
        replace: makes the message that stands for one that can't be read; by default the error is raised.
    """

    def __init__(self, sock: Receiver, replace: Callable[[Exception], Message] | None = None) -> None:
        self._sock = sock
        self._replace = replace
        self._buffer = bytearray()
        self.ended = False

    def read(self) -> list[Message]:
        """Return the whole frames that have arrived; set `ended` once the other end is gone."""
        while not self.ended:
            try:
                chunk = self._sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                chunk = b""
            if not chunk:
                self.ended = True
                break
            self._buffer += chunk
            if len(chunk) < 1 << 18:
                break
        messages = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer, start)
            end = start + _HEADER.size + length
            if len(self._buffer) < end:
                break
            body = bytes(memoryview(self._buffer)[start + _HEADER.size : end])
            start = end
            try:
                messages.append(pickle.loads(body))  # noqa: S301 - see the module's docstring
            except Exception as error:
                if self._replace is None:
                    raise
                messages.append(self._replace(error))
        if start:
            del self._buffer[:start]
        return messages


class FrameWriter:
    """Sends frames over a socket without ever blocking: keeps what the socket doesn't take yet.

    Args:
        sock: a blocking socket; it is written with `MSG_DONTWAIT`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames: deque[tuple[memoryview, Sequence[int]]] = deque()

    @property
    def is_done(self) -> bool:
        """Whether everything is sent; if not, call `flush` when the socket is writable."""
        return not self._frames

    def send(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Send a frame, or keep it for `flush`.

        Args:
            message: what to send.
            descriptors: file descriptors that go along (`SCM_RIGHTS`). They are the writer's now: it closes them
                here once they are sent.

        Raises:
            OSError: the other end is gone.
        """
        self._frames.append((memoryview(pack(message)), descriptors))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now.

        Raises:
            OSError: the other end is gone.
        """
        while self._frames:
            data, descriptors = self._frames[0]
            try:
                if descriptors:
                    # Not `socket.send_fds`, which ignores flags in Python 3.11.
                    rights = struct.pack(f"{len(descriptors)}i", *descriptors)
                    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                    sent = self._sock.sendmsg([data], ancillary, socket.MSG_DONTWAIT)
                else:
                    sent = self._sock.send(data, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(data):
                self._frames[0] = (data[sent:], ())
            else:
                self._frames.popleft()

    def drop(self) -> None:
        """Forget what isn't sent, and close its descriptors."""
        while self._frames:
            for descriptor in self._frames.popleft()[1]:
                os.close(descriptor)
