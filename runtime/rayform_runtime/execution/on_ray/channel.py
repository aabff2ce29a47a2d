"""The live line: on it a step's worker reports to its scheduler that it started, and what it prints.

Ray carries the task there and the result back. It has no cheap way to report a start or to pass lines on while
a task runs: its state API is polled, its log monitor tails files and mixes tasks, and streaming generators would
take the main thread away from the step. So each worker keeps one TCP connection to the scheduler's process.

The line is a convenience and never decides anything: a worker that can't reach it runs its step all the same,
and a step is lost only when Ray says so. Both ends prove that they know the run's random key before a byte of
content is read (`multiprocessing.connection`'s HMAC challenge). Messages are JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from rayform_runtime.execution.on_ray.messages import WorkerMessage, decode, encode

__all__ = ["ChannelAddress", "ChannelClient", "ChannelServer"]

_HANDSHAKE_TIMEOUT = 10.0
_LARGEST_MESSAGE = 4 * 1024 * 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """Where the scheduler listens, and the key that both ends must know."""

    host: str
    port: int
    key: bytes

    def __repr__(self) -> str:
        return f"ChannelAddress({self.host}:{self.port})"


class ChannelServer:
    """The scheduler's end.

    Args:
        host: the address to bind: loopback for a local Ray, the node's private address in a cluster.
        on_message: called with the connection's number and a message, from the connection's own thread.
        on_closed: called with the connection's number once its worker is gone.
    """

    def __init__(
        self,
        host: str,
        on_message: Callable[[int, WorkerMessage], None],
        on_closed: Callable[[int], None],
    ) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._socket = socket.create_server((host, 0), backlog=512)
        self.address = ChannelAddress(host, self._socket.getsockname()[1], secrets.token_bytes(32))
        self._open: dict[int, Connection] = {}
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, name="rayform-channel", daemon=True).start()

    def _accept(self) -> None:
        number = 0
        while not self._closed:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            number += 1
            threading.Thread(
                target=self._serve, args=(number, peer), name=f"rayform-channel-{number}", daemon=True
            ).start()

    def _serve(self, number: int, peer: socket.socket) -> None:
        _set_timeout(peer, _HANDSHAKE_TIMEOUT)
        connection = Connection(peer.detach())
        try:
            deliver_challenge(connection, self.address.key)
            answer_challenge(connection, self.address.key)
        except (OSError, EOFError, AuthenticationError):
            connection.close()
            return
        _clear_timeout(connection)
        with self._lock:
            if self._closed:
                connection.close()
                return
            self._open[number] = connection
        try:
            while True:
                self._on_message(number, decode(connection.recv_bytes(_LARGEST_MESSAGE)))
        except (OSError, EOFError, ValueError):
            pass  # The worker ended or was stopped: Ray reports what became of its task.
        finally:
            with self._lock:
                self._open.pop(number, None)
            with contextlib.suppress(OSError):
                connection.close()
            self._on_closed(number)

    def close(self) -> None:
        """Stop listening and drop all connections. Idempotent."""
        with self._lock:
            self._closed = True
            connections = list(self._open.values())
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in connections:
            # Wakes the thread that reads from it; closing alone would leave it blocked.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as peer:
                peer.shutdown(socket.SHUT_RDWR)


class ChannelClient:
    """The worker's end. Once the line is cut, it drops messages silently.

    Args:
        address: the scheduler's end.
    """

    def __init__(self, address: ChannelAddress) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        try:
            peer = socket.create_connection((address.host, address.port), timeout=_HANDSHAKE_TIMEOUT)
            peer.settimeout(None)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _set_timeout(peer, _HANDSHAKE_TIMEOUT)
            connection = Connection(peer.detach())
            answer_challenge(connection, address.key)
            deliver_challenge(connection, address.key)
            _clear_timeout(connection)
            self._connection = connection
        except (OSError, EOFError, AuthenticationError) as error:
            _log.warning("No live line to the scheduler at %s:%s: %s", address.host, address.port, error)

    @property
    def is_open(self) -> bool:
        """Whether messages still get through."""
        return self._connection is not None

    def send(self, message: WorkerMessage) -> None:
        """Send one message, whole, in the order of the calls."""
        with self._lock:
            if self._connection is None:
                return
            try:
                self._connection.send_bytes(encode(message))
            except OSError:
                self._connection = None


def _set_timeout(peer: socket.socket, seconds: float) -> None:
    # Connection reads the descriptor itself, so the timeout must be the kernel's.
    value = struct.pack("ll", int(seconds), 0)
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _clear_timeout(connection: Connection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        forever = struct.pack("ll", 0, 0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, forever)
        # A scheduler that stops reading must not block a step for ever.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
