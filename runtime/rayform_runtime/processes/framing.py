"""Messages between processes of one machine: pickles with a length before them, over a stream socket.

Both ends are processes of one user that Rayform itself started, on an unnamed socket pair, so that pickle
(which runs what it reads) meets no stranger's data.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

__all__ = ["FrameReader", "pack", "receive", "send"]

_HEADER = struct.Struct("!Q")


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
    """Block for one frame; `None` once the other end is gone."""
    header = _receive_exactly(sock, _HEADER.size)
    if header is None:
        return None
    body = _receive_exactly(sock, _HEADER.unpack(header)[0])
    return None if body is None else pickle.loads(body)  # noqa: S301 - see the module's docstring


class FrameReader:
    """Takes frames from a socket without ever blocking.

    Args:
        sock: a blocking socket; it is read with `MSG_DONTWAIT`, so that writes may still block.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.ended = False

    def read(self) -> list[Any]:
        """Return the whole frames that have arrived; sets `ended` once the other end is gone."""
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
            messages.append(pickle.loads(body))  # noqa: S301 - see the module's docstring
            start = end
        if start:
            del self._buffer[:start]
        return messages
