"""werkzeug's HTTP server, with connections that stay open between requests.

werkzeug's own handler closes a connection after each request, since it doesn't know where a body ends that the
application hasn't read. This handler finds the end by the headers, and reads the rest of a body before the next
request. For a small request to S3, a new connection and thread would take a fifth of the time.

werkzeug still accepts connections and makes the environ, which moto extends. Servers that keep connections open by
themselves (cheroot, waitress) can't be extended like that, and their fixed number of threads would be used up by
requests that wait.

Sources: https://peps.python.org/pep-3333/ and https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from types import TracebackType
from typing import IO, cast
from wsgiref.types import WSGIApplication

from werkzeug.exceptions import ClientDisconnected
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wsgi import LimitedStream

__all__ = ["KeepAliveHandler", "serve"]

IDLE_SECONDS = 30.0
"""How long a connection, which has a thread, may wait for its next request. Clients notice the end, or try again."""

CHUNK = 1 << 16
_LONGEST_LENGTH = 19
_LONGEST_LINE = 1 << 16
log = logging.getLogger(__name__)


def serve(
    application: WSGIApplication, address: str, port: int, handler: type[WSGIRequestHandler] | None = None
) -> BaseWSGIServer:
    """Serve an application from now on, with a thread for each connection.

    Args:
        handler: makes the environ of each request, instead of werkzeug's own handler.
    """

    class Handler(KeepAliveHandler, handler or WSGIRequestHandler):  # type: ignore[misc] # a base of run time
        pass

    server = make_server(address, port, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name=f"serve-{server.port}").start()
    return server


class KeepAliveHandler(WSGIRequestHandler):
    """Answers one request after the other on a connection."""

    protocol_version = "HTTP/1.1"
    raw_requestline: bytes
    timeout = 300
    # Otherwise the second part of an answer would wait until the client acknowledges the first, up to 40 ms.
    disable_nagle_algorithm = True

    def log_request(self, *args: object, **kwargs: object) -> None: ...

    def log_error(self, format: str, *args: object) -> None:
        """Keep clients' mistakes, and the ends of idle connections, out of the log."""
        log.debug(format, *args)

    def handle_one_request(self) -> None:
        self.connection.settimeout(IDLE_SECONDS)
        super().handle_one_request()

    def parse_request(self) -> bool:
        if self.raw_requestline in {b"\r\n", b"\n"}:
            # Some clients send an extra line break after a body (RFC 9112, section 2.2).
            line = self.rfile.readline(_LONGEST_LINE + 1)
            self.raw_requestline = line if len(line) <= _LONGEST_LINE else b""  # nothing: the connection ends
        self.connection.settimeout(self.timeout)  # only now: after that empty line it may still be idle
        return super().parse_request()

    def run_wsgi(self) -> None:
        """Answer one request; afterwards the connection is at the next one, or will be closed."""
        if self.request_version != "HTTP/1.1":
            self.close_connection = True
        length = self._body_length()
        if length is None:
            self.send_error(
                HTTPStatus.BAD_REQUEST, explain="The headers don't say where the request's body ends"
            )
            return
        environ = self.make_environ()
        if not environ.get("wsgi.input_terminated"):
            environ["wsgi.input"] = LimitedStream(cast(IO[bytes], self.rfile), length)
            environ["wsgi.input_terminated"] = True
        body = environ["wsgi.input"]  # kept: an application may put another stream in its place
        answer = _Answer(self)
        try:
            answer.send_all(self.server.app(environ, answer.start))
        except Exception as error:
            self.close_connection = True
            if not isinstance(error, (ClientDisconnected, ConnectionError, TimeoutError)):
                log.exception("%s %s", self.command, self.path)
            if not answer.started:
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            if self.headers.get("Transfer-Encoding") is not None:
                return  # after a malformed chunk, the end of the body isn't known
        try:
            # Before closing too: the kernel resets a connection that is closed with something unread, and a client that
            # is still sending would see that instead of the answer.
            while body.read(CHUNK):
                pass
        except (ClientDisconnected, OSError):
            self.close_connection = True

    def _body_length(self) -> int | None:
        """Return the length of a body that isn't chunked; `None` if the headers disagree about its end."""
        if self.headers.defects:  # a line that isn't a header hides those after it
            self.close_connection = True
        lengths = set(self.headers.get_all("Content-Length", ()))
        if self.headers.get("Transfer-Encoding") is not None:
            if self.headers["Transfer-Encoding"].strip().lower() != "chunked" or lengths:
                return None
            return 0
        if not lengths:
            return 0
        length = lengths.pop().strip()
        is_number = length.isascii() and length.isdigit() and len(length) < _LONGEST_LENGTH
        return int(length) if not lengths and is_number else None


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Answer:
    """One answer on its way to the client.

    Args:
        handler: of the connection.
    """

    def __init__(self, handler: KeepAliveHandler) -> None:
        self.handler = handler
        self.started = False
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.chunked = False
        self.left: int | None = None
        """How many bytes of the body are still to be sent; `None` if that isn't known."""

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Be the application's `start_response`."""
        if exc_info and exc_info[1] is not None and self.started:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status and not exc_info:
            raise AssertionError("Headers already set")
        self.status, self.headers = status, headers
        return self.write

    def send_all(self, parts: Iterable[bytes]) -> None:
        """Send the body that an application returned."""
        try:
            for part in parts:
                self.write(part)
            if not self.started:
                self.write(b"")
            if self.chunked:
                self.handler.wfile.write(b"0\r\n\r\n")
            if self.left:  # the client waits for more than there is
                self.handler.close_connection = True
        finally:
            if close := getattr(parts, "close", None):
                close()

    def write(self, data: bytes) -> None:
        """Send a part of the body; the first one after the head."""
        head = b"" if self.started else self._head()
        self.started = True
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        pieces = [head, data]
        if self.chunked and data:
            pieces = [head, b"%x\r\n" % len(data), data, b"\r\n"]
        # A small part goes out in one packet; a large one isn't copied for that.
        for piece in [b"".join(pieces)] if len(data) < CHUNK else pieces:
            if piece:
                self.handler.wfile.write(piece)

    def _head(self) -> bytes:
        """Return the status line and the headers, and decide how the body will end."""
        handler = self.handler
        if not self.status:
            raise AssertionError("The application sent data before it called start_response")
        lines, names = [f"HTTP/1.1 {self.status}"], {"connection"}
        for name, value in self.headers:
            names.add(name.lower())
            if name.lower() != "connection":
                lines.append(f"{name}: {value}")
            elif value.lower() == "close":
                handler.close_connection = True
            if name.lower() == "content-length":
                self.left = int(value)
        code = int(self.status[:3])
        if handler.command == "HEAD" or code < 200 or code in {204, 304}:
            self.left = 0
        elif self.left is None and handler.request_version == "HTTP/1.1":
            self.chunked = True
            lines.append("Transfer-Encoding: chunked")
        elif self.left is None:
            handler.close_connection = True
        if "server" not in names:
            lines.append(f"Server: {handler.version_string()}")
        if "date" not in names:
            lines.append(f"Date: {handler.date_time_string()}")
        if handler.close_connection:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "", "")).encode("latin-1")
