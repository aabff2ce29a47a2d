"""The web application: its routes, how errors look, and what stands around it."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from rayform_core.errors import ConflictError, NotFoundError, RayformError, UsageError
from rayform_server import context
from rayform_server.pages import ROUTES
from rayform_server.security import ForbiddenError, Guard, Sessions

__all__ = ["create_app"]

mimetypes.add_type("text/javascript", ".js")


def create_app(*, stack: str, key: bytes, port: int) -> ASGIApp:
    """Return the dashboard.

    Args:
        stack: the stack that it shows by default.
        key: the secret of its sessions.
        port: the port that it is reached at, on loopback.
    """
    sessions = Sessions(key, port)

    def enter(request: Request) -> Response:
        session = sessions.begin(request.query_params.get("token", ""))
        if session is None:
            return HTMLResponse(context.render("signed_out.html", used=True), status_code=401)
        # A page rather than a redirect: after a redirect from another site the browser would keep the cookie back.
        response = HTMLResponse(context.render("enter.html"))
        response.set_cookie(sessions.cookie, session, httponly=True, samesite="strict", path="/")
        return response

    app = Starlette(
        routes=[Route("/enter", enter), Route("/static/{version}/{path:path}", _static), *ROUTES],
        exception_handlers={RayformError: _error, HTTPException: _http_error, Exception: _crash},
    )
    app.state.stack = stack
    hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))
    return Guard(
        app, sessions=sessions, hosts=hosts, signed_out=context.render("signed_out.html", used=False)
    )


def _static(request: Request) -> Response:
    path = (context.STATIC / request.path_params["path"]).resolve()
    if not path.is_relative_to(context.STATIC) or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, headers={"cache-control": "public, max-age=31536000, immutable"})


def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RayformError)
    status = 503
    for kind, code in ((NotFoundError, 404), (UsageError, 400), (ConflictError, 409), (ForbiddenError, 403)):
        if isinstance(error, kind):
            status = code
            break
    return context.page(request, "error.html", status=status, error=error)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code != 404 or not hasattr(request.state, "form_token"):
        return Response(str(error.detail), status_code=error.status_code, media_type="text/plain")
    missing = NotFoundError("page", request.url.path, hint="Start at the overview.")
    return context.page(request, "error.html", status=404, error=missing)


def _crash(request: Request, error: Exception) -> Response:
    shown = RayformError(
        "The dashboard failed to make this page.",
        why=f"{type(error).__name__}: {error}"[:500],
        hint=f"Its log has the traceback: {Path('dashboard') / 'log'} in RAYFORM_HOME.",
    )
    return context.page(request, "error.html", status=500, error=shown)
