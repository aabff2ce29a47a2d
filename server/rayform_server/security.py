"""Who may talk to the dashboard: host names, sessions, forms, and the headers of every response.

A page of another origin must be able neither to read the dashboard nor to press its buttons, even if it resolves a name
of its own to 127.0.0.1. So the `Host` header must be on a list, a session starts with a one-time token, its cookie is
never sent from another site, and each form needs the session's token and this origin.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, ImmutableMultiDict, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayform_core.errors import RayformError

__all__ = [
    "FORM_FIELD",
    "PAGE_POLICY",
    "SANDBOX_POLICY",
    "ForbiddenError",
    "Guard",
    "Sessions",
    "checked_form",
]

FORM_FIELD = "form_token"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""No inline script or style, nothing from elsewhere."""
SANDBOX_POLICY = (
    "sandbox allow-scripts; default-src 'unsafe-inline' data: blob:; connect-src 'none'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
"""For what users' code made: its scripts run in an origin of their own, which nothing can be asked from."""
_COMMON = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-dns-prefetch-control": "off",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_TOKEN_SECONDS = 600
_MAX_FORM = 64_000


class ForbiddenError(RayformError):
    """A request that doesn't come from a page of this dashboard."""


class Sessions:
    """The sessions of one dashboard process, and the one-time tokens that start them.

    A token is `expiry.nonce.signature`. Whoever can read `key`, which only the user can, makes one without asking the
    process.

    Args:
        key: the secret that tokens and forms are signed with.
        port: cookies aren't separated by port, so each port has a cookie of its own.
    """

    def __init__(self, key: bytes, port: int) -> None:
        self.cookie = f"rayform_{port}"
        self._key = key
        self._lock = threading.Lock()
        # Nonces of tokens that started a session, with their expiry; expired ones are dropped when a token is used.
        self._used: dict[str, int] = {}
        # IDs of the sessions; they end with the process.
        self._ids: set[str] = set()

    @staticmethod
    def token(key: bytes, *, lifetime: int = _TOKEN_SECONDS) -> str:
        """Return a token that starts one session within `lifetime` seconds."""
        text = f"{int(time.time()) + lifetime}.{secrets.token_urlsafe(24)}"
        return f"{text}.{_signature(key, 'enter', text)}"

    def begin(self, token: str) -> str | None:
        """Return the ID of a new session, or `None` if the token is wrong, expired or used."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(_signature(self._key, "enter", text).encode(), signature.encode()):
            return None
        expiry, _, nonce = text.partition(".")
        now = int(time.time())
        with self._lock:
            self._used = {used: end for used, end in self._used.items() if end >= now}
            if int(expiry) < now or nonce in self._used:
                return None
            self._used[nonce] = int(expiry)
            session = secrets.token_urlsafe(32)
            self._ids.add(session)
        return session

    def of(self, headers: Headers) -> str | None:
        """Return the ID of a request's session, or `None` if it has none."""
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return None
        morsel = jar.get(self.cookie)
        return morsel.value if morsel is not None and morsel.value in self._ids else None

    def form_token(self, session: str) -> str:
        """Return what each form of a session must send."""
        return _signature(self._key, "form", session)


def _signature(key: bytes, purpose: str, text: str) -> str:
    return hmac.new(key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """The outermost layer: it refuses requests, and adds the headers to every response.

    Args:
        app: what is behind it.
        sessions: the sessions.
        hosts: values of `Host` that are answered, in lower case.
        signed_out: the page for a browser without a session.
    """

    def __init__(self, app: ASGIApp, *, sessions: Sessions, hosts: frozenset[str], signed_out: str) -> None:
        self._app = app
        self._sessions = sessions
        self._hosts = hosts
        self._signed_out = signed_out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web socket is ever accepted
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _COMMON.items():
                    answer[name] = value
                answer.setdefault("content-security-policy", PAGE_POLICY)
                answer.setdefault("cache-control", "no-store")
                if "sandbox" not in answer["content-security-policy"]:
                    answer["x-frame-options"] = "DENY"
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if headers.get("host", "").lower() not in self._hosts:
            return PlainTextResponse("This host name isn't the dashboard's.", status_code=421)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("The dashboard answers GET and POST.", status_code=405)
        if scope["method"] == "POST" and not self._from_own_page(headers):
            return PlainTextResponse("This form was sent by another site.", status_code=403)
        path = scope["path"]
        if path == "/enter" or path.startswith("/static/"):
            return None
        session = self._sessions.of(headers)
        if session is None:
            return HTMLResponse(self._signed_out, status_code=401)
        scope.setdefault("state", {})
        scope["state"]["session"] = session
        scope["state"]["form_token"] = self._sessions.form_token(session)
        return None

    def _from_own_page(self, headers: Headers) -> bool:
        own = f"http://{headers.get('host', '').lower()}"
        return (
            headers.get("origin", "") == own and headers.get("sec-fetch-site", "same-origin") == "same-origin"
        )


async def checked_form(request: Request) -> ImmutableMultiDict[str, str]:
    """Return a form's fields.

    Raises:
        ForbiddenError: the form doesn't hold the session's token.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM:
            raise ForbiddenError("This form is too long.", hint=f"Send at most {_MAX_FORM:,} bytes.")
    form = ImmutableMultiDict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    wanted = request.state.form_token
    if not hmac.compare_digest(form.get(FORM_FIELD, "").encode(), wanted.encode()):
        raise ForbiddenError(
            "This form can't be used.",
            why="It is from before the dashboard started.",
            hint="Reload the page.",
        )
    return form
