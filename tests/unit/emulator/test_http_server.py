"""The emulated cloud's HTTP server: many requests on one connection, and none mistaken for another."""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from werkzeug.exceptions import ClientDisconnected

from rayform_localstack.api import http_server
from rayform_localstack.api.moto_parts import part

Environ = dict[str, Any]
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Served:
    """An application behind the server; each test says how it answers."""

    def __init__(self) -> None:
        self.answer: Callable[[Environ, Any], Iterable[bytes]] = echo
        self.paths: list[str] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, environ: Environ, start: Any) -> Iterable[bytes]:
        self.paths.append(environ["PATH_INFO"])
        self.threads.add(threading.current_thread())
        return (plain if environ["PATH_INFO"] == "/next" else self.answer)(environ, start)


def plain(environ: Environ, start: Any) -> Iterable[bytes]:
    """Answer without a look at the body."""
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def echo(environ: Environ, start: Any) -> Iterable[bytes]:
    """Answer with the request's body."""
    body = environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[int, list[Served]]]:
    """A server for all tests, since its end takes half a second: its port, and whose application it serves."""
    current = [Served()]
    server = http_server.serve(lambda environ, start: current[0](environ, start), "127.0.0.1", 0)
    yield server.port, current
    server.shutdown()


@pytest.fixture
def served(running: tuple[int, list[Served]]) -> Served:
    """The application."""
    running[1][0] = Served()
    return running[1][0]


@pytest.fixture
def port(running: tuple[int, list[Served]], served: Served) -> Iterator[int]:
    """The server's port; the threads of its connections end with them."""
    yield running[0]
    for thread in served.threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def client(port: int) -> Iterator[http.client.HTTPConnection]:
    """One connection, which isn't opened again if the server closes it."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.connect()
        connection.auto_open = 0
        yield connection


@pytest.fixture
def raw(port: int) -> Iterator[socket.socket]:
    """A connection for requests that no library sends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def ask(client: http.client.HTTPConnection, *request: Any, **more: Any) -> tuple[int, bytes]:
    """Send a request; return status and body."""
    client.request(*request, **more)
    response = client.getresponse()
    return response.status, response.read()


def until_closed(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def receive(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes, up to the bytes that it must end with."""
    data = b""
    while not data.endswith(end):
        more = connection.recv(65536)
        assert more, data
        data += more
    return data


def test_requests_follow_each_other_on_one_connection(
    client: http.client.HTTPConnection, served: Served
) -> None:
    """A connection answers one request after the other, from one thread."""
    for body in (b"first", b"", b"x" * 200_000):
        assert ask(client, "PUT", "/echo", body) == (200, body)
    assert len(served.threads) == 1


def test_requests_that_were_sent_at_once_are_answered_in_turn(raw: socket.socket, served: Served) -> None:
    """A client that doesn't wait for answers gets them in the order of its requests."""
    raw.sendall(b"PUT /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\none" + NEXT + LAST)
    assert until_closed(raw).count(b"HTTP/1.1 200 OK\r\n") == 3
    assert served.paths == ["/1", "/next", "/next"]


@pytest.mark.parametrize("blank", [b"\r\n", b"\n"])
def test_an_empty_line_before_a_request_is_passed_over(
    raw: socket.socket, served: Served, blank: bytes
) -> None:
    """A line break too many after a body doesn't cost the client its connection."""
    raw.sendall(b"PUT /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\none" + blank + NEXT + blank + LAST)
    assert until_closed(raw).count(b"HTTP/1.1 200 OK\r\n") == 3


def test_an_empty_line_hides_no_request_line_without_end(raw: socket.socket, served: Served) -> None:
    """A request line longer than 64 KiB ends the connection after an empty line too."""
    raw.sendall(b"\r\n" + b"GET /" + b"x" * (1 << 16) + b" HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert b"200 OK" not in until_closed(raw)
    assert served.paths == []


@pytest.mark.parametrize("size", [3 * len(NEXT), 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_nobody_read_is_no_request(
    client: http.client.HTTPConnection, served: Served, size: int, chunked: bool
) -> None:
    """What an application leaves of a body is skipped, and the connection's next request is the client's."""
    served.answer = plain
    body = (NEXT * (size // len(NEXT) + 1))[:size]
    given: Any = iter([body[: size // 2], body[size // 2 :]]) if chunked else body
    assert ask(client, "PUT", "/unread", given, encode_chunked=chunked) == (200, b"ok")
    assert ask(client, "GET", "/next") == (200, b"ok")
    assert served.paths == ["/unread", "/next"]


def test_a_body_that_was_replaced_is_read_to_its_end(
    client: http.client.HTTPConnection, served: Served
) -> None:
    """An application may put another stream in the body's place, as the check of signatures does."""

    def replace(environ: Environ, start: Any) -> Iterable[bytes]:
        environ["wsgi.input"] = None
        return plain(environ, start)

    served.answer = replace
    assert ask(client, "PUT", "/replaced", NEXT) == (200, b"ok")
    assert ask(client, "GET", "/next") == (200, b"ok")
    assert served.paths == ["/replaced", "/next"]


def test_a_body_that_nobody_read_is_taken_before_the_connection_closes(
    raw: socket.socket, served: Served
) -> None:
    """A client that sends its whole body first sees the answer, and no reset connection."""
    served.answer = plain
    raw.sendall(
        b"PUT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000)
    )
    assert until_closed(raw).endswith(b"\r\n\r\nok")


def test_a_chunked_body_arrives_whole(client: http.client.HTTPConnection) -> None:
    """An upload in chunks is one body to the application."""
    parts = [b"a" * 10, b"b" * 100_000, b"c"]
    for _ in range(2):
        assert ask(client, "PATCH", "/echo", iter(parts), encode_chunked=True) == (200, b"".join(parts))


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_answers_without_a_body_send_none(
    raw: socket.socket, served: Served, method: str, status: str, sized: bool
) -> None:
    """The answer to HEAD, and those of status 204 and 304, end with their headers, whatever the application gives."""

    def answer(environ: Environ, start: Any) -> Iterable[bytes]:
        start(status, [("Content-Length", "4")] if sized else [])
        return [b"body"]

    served.answer = answer
    raw.sendall(f"{method} / HTTP/1.1\r\n\r\n".encode() + LAST)
    head, _, rest = until_closed(raw).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert (b"Content-Length: 4" in head) == sized
    assert b"chunked" not in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_answer_of_unknown_length_is_chunked(client: http.client.HTTPConnection, served: Served) -> None:
    """An answer whose length the application doesn't tell leaves the connection open."""

    def stream(environ: Environ, start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        yield from (b"a", b"", b"b" * 100_000)

    served.answer = stream
    for _ in range(2):
        assert ask(client, "GET", "/stream") == (200, b"a" + b"b" * 100_000)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"])
def test_a_client_of_http_1_0_reads_until_the_end(
    raw: socket.socket, served: Served, keep: bytes, sized: bool
) -> None:
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the answer."""

    def stream(environ: Environ, start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "2")] if sized else [])
        yield from (b"a", b"b")

    served.answer = stream
    raw.sendall(b"GET / HTTP/1.0\r\n" + keep + b"\r\n")
    head, _, body = until_closed(raw).partition(b"\r\n\r\n")
    assert body == b"ab"
    assert b"Connection: close" in head
    assert b"chunked" not in head


def test_a_client_that_expects_to_be_asked_is_asked_once(raw: socket.socket) -> None:
    """`Expect: 100-continue` is answered with one interim answer before the body, on each request."""
    for _ in range(2):
        raw.sendall(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert receive(raw, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"body")
        answer = receive(raw, b"body")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("head", "sent"),
    [(b"Content-Length: 100", b"ten bytes."), (b"Transfer-Encoding: chunked", b"64\r\nten bytes.")],
)
def test_a_client_that_hangs_up_ends_its_thread(
    port: int, raw: socket.socket, served: Served, head: bytes, sent: bytes
) -> None:
    """A body that breaks off is an error for its reader, and the connection's thread ends."""
    seen: queue.Queue[Exception] = queue.Queue()

    def read(environ: Environ, start: Any) -> Iterable[bytes]:
        try:
            return echo(environ, start)
        except Exception as error:
            seen.put(error)
            raise

    served.answer = read
    raw.sendall(b"PUT / HTTP/1.1\r\n" + head + b"\r\n\r\n" + sent)
    raw.shutdown(socket.SHUT_WR)
    assert isinstance(seen.get(timeout=10), (ClientDisconnected, OSError))
    assert b"HTTP/1.1 500" in until_closed(raw)
    (thread,) = served.threads
    thread.join(10)
    assert not thread.is_alive()


def test_an_answer_that_nobody_takes_any_more_ends(raw: socket.socket, served: Served) -> None:
    """A client that disconnects during an answer ends it, and the application's `close` is called."""
    ended = threading.Event()

    def endless(environ: Environ, start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.set()

    served.answer = endless
    raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
    raw.recv(1)
    raw.close()
    assert ended.wait(10)


@pytest.mark.parametrize("blank", [b"", b"\r\n"])
def test_a_connection_that_stays_idle_is_closed(
    monkeypatch: pytest.MonkeyPatch, port: int, served: Served, blank: bytes
) -> None:
    """A connection without a next request is closed after a time, and its thread ends; an empty line is none."""
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as idle:
        idle.sendall(NEXT + blank)
        assert until_closed(idle).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("length", ["3", "5"])
def test_an_answer_of_another_length_than_was_told_disturbs_no_other(
    client: http.client.HTTPConnection, served: Served, length: str
) -> None:
    """Extra data isn't sent, and missing data ends the connection."""

    def answer(environ: Environ, start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", length)])
        return [b"bo", b"dy"]

    served.answer = answer
    if length == "5":
        with pytest.raises(http.client.IncompleteRead):
            ask(client, "GET", "/")
    else:
        assert ask(client, "GET", "/") == (200, b"bod")
        assert ask(client, "GET", "/next") == (200, b"ok")


def test_an_error_before_the_answer_is_status_500(
    client: http.client.HTTPConnection, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that fails is a status of 500, and its traceback is in the log."""

    def fail(environ: Environ, start: Any) -> Iterable[bytes]:
        raise LookupError("told in the log")

    served.answer = fail
    assert ask(client, "PUT", "/fails", b"body")[0] == 500
    assert "told in the log" in caplog.text


def test_an_error_within_the_answer_breaks_it_off(
    client: http.client.HTTPConnection, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that fails after a part of its answer leaves no answer that looks whole."""

    def fail(environ: Environ, start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        yield b"half"
        raise LookupError("told in the log")

    served.answer = fail
    with pytest.raises(http.client.IncompleteRead):
        ask(client, "GET", "/")
    assert "told in the log" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: -1",
        b"Content-Length: 0x1",
        b"Content-Length: " + b"1" * 5000,
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
    ],
)
def test_a_body_without_a_clear_end_is_refused(raw: socket.socket, served: Served, headers: bytes) -> None:
    """A request whose headers disagree on its body's end is refused, and nothing after it is read as another."""
    raw.sendall(b"PUT / HTTP/1.1\r\n" + headers + b"\r\n\r\n")
    assert until_closed(raw).startswith(b"HTTP/1.1 400 ")
    assert served.paths == []


@pytest.mark.timeout(20)
def test_a_wrong_chunk_ends_the_connection(raw: socket.socket, served: Served) -> None:
    """The end of such a body isn't known, so the connection ends without reading another request."""
    raw.sendall(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n" + NEXT)
    until_closed(raw)
    assert served.paths == ["/"]


def test_a_header_that_can_t_be_read_ends_the_connection(raw: socket.socket, served: Served) -> None:
    """A line that is no header may hide the body's length, so that nothing after the request is read as another."""
    raw.sendall(b"PUT / HTTP/1.1\r\nno header\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT)
    until_closed(raw)
    assert served.paths == ["/"]


def test_moto_s_handler_makes_the_environ() -> None:
    """Names of headers that moto keeps as they were written reach the application."""
    seen: queue.Queue[Environ] = queue.Queue()

    def application(environ: Environ, start: Any) -> Iterable[bytes]:
        seen.put(environ)
        return plain(environ, start)

    handler = part("moto_server.werkzeug_app:MotoRequestHandler")
    server = http_server.serve(application, "127.0.0.1", 0, handler)
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as client:
            for _ in range(2):
                assert ask(client, "PUT", "/", headers={"x-amz-meta-a_b": "c"}) == (200, b"ok")
                assert seen.get(timeout=10)["HTTP_X_AMZ_META_A_B"] == "c"
    finally:
        server.shutdown()
