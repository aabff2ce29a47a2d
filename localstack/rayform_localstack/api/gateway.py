"""The API process's entry for every request: it checks the caller, and picks the emulator that answers."""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import threading
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from xml.sax.saxutils import escape

from rayform_localstack.api.authorization import Authorizer, RefusedError
from rayform_localstack.api.backends import Backends
from rayform_localstack.api.registry import RegistryGate

__all__ = ["Gateway"]

WATCHED = {"ec2", "autoscaling", "rds", "ecr"}
MAX_WAIT = 30.0
XML, JSON = "text/xml; charset=utf-8", "application/json"
log = logging.getLogger(__name__)

Answer = tuple[int, Mapping[str, object]]
"""Status and JSON of an answer."""


class _Body(TypedDict):
    """The JSON of a request to a control endpoint; a request has only the fields of its endpoint."""

    state: str
    expected: list[str]
    code: str
    message: str
    notice_seconds: float | None
    status: str
    fault: str | None


class Gateway:
    """The WSGI application that host and nodes talk to.

    Args:
        authorizer: checks every request of the AWS API.
        backends: the cloud's state.
        registry: answers the registry's token requests, and takes its events.
        token: the secret of the control endpoints.
        default: the emulator that answers all services but those of `others`.
        others: emulators by the service that they answer.
        facts: facts for `/_rayform/health`.
        notice_seconds: seconds from the notice of a spot interruption to the end.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        backends: Backends,
        registry: RegistryGate,
        token: str,
        default: WSGIApplication,
        others: dict[str, WSGIApplication],
        facts: Mapping[str, object],
        notice_seconds: float,
    ) -> None:
        self.authorizer = authorizer
        self.backends = backends
        self.registry = registry
        self.token = token
        self.default = default
        self.others = others
        self.facts = facts
        self.notice_seconds = notice_seconds
        self.supervisor_seen: float | None = None
        """When the supervisor last reported that it runs; all other attributes never change."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path.startswith("/_rayform/"):
            return self._json(start_response, *self._controlled(path.removeprefix("/_rayform/"), environ))
        if path == "/_registry/token":
            return self._json(start_response, *self.registry.token(environ))
        if path == "/_registry/events":
            return self._json(start_response, *self._registry_events(environ))
        if path.startswith("/moto-api"):
            return self._refuse(
                RefusedError(403, "AccessDenied", "moto's own API is closed.", "s3"), start_response
            )
        try:
            self.authorizer.check(environ)
        except RefusedError as refusal:
            return self._refuse(refusal, start_response)
        service = _service(environ)
        application = self.others.get(service, self.default)
        answer = application(environ, start_response)
        if service in WATCHED:
            self.backends.changes.bump()
        return answer

    # Answers ------------------------------------------------------------------------------------------------

    @staticmethod
    def _json(start_response: StartResponse, status: int, data: Mapping[str, object]) -> list[bytes]:
        body = json.dumps(data).encode()
        start_response(f"{status} Status", [("Content-Type", JSON), ("Content-Length", str(len(body)))])
        return [body]

    @staticmethod
    def _refuse(refusal: RefusedError, start_response: StartResponse) -> list[bytes]:
        request_id = secrets.token_hex(8)
        code, message = escape(refusal.code), escape(refusal.message)
        kind = XML
        if refusal.service == "s3":
            text = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
        elif refusal.service == "ec2":
            text = (
                f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                f"<RequestID>{request_id}</RequestID></Response>"
            )
        elif refusal.service in {
            "iam",
            "sts",
            "rds",
            "autoscaling",
            "sns",
            "monitoring",
            "elasticloadbalancing",
        }:
            text = (
                f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
                f"<RequestId>{request_id}</RequestId></ErrorResponse>"
            )
        else:
            kind = "application/x-amz-json-1.1"
            text = json.dumps({"__type": refusal.code, "message": refusal.message})
        body = text.encode()
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("x-amzn-requestid", request_id),
        ]
        start_response(f"{refusal.status} Refused", headers)
        return [body]

    # Control ------------------------------------------------------------------------------------------------

    def _controlled(self, path: str, environ: WSGIEnvironment) -> Answer:
        try:
            return self._control(path, environ)
        except Exception as error:
            log.exception("Control endpoint %s", path)
            return 500, {"error": f"{type(error).__name__}: {error}"}

    def _control(self, path: str, environ: WSGIEnvironment) -> Answer:
        if path == "health":
            return 200, self._health()
        if not self._has_token(environ):
            return 403, {"error": "only the supervisor and the command line may call the control endpoints"}
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body: _Body = json.loads(environ["wsgi.input"].read(length) or b"{}")
        if path == "desired":
            self.backends.changes.wait(
                int(query.get("since", "0")), min(float(query.get("wait", "0")), MAX_WAIT)
            )
            return 200, self.backends.desired()
        if path == "supervisor":
            self.supervisor_seen = time.time()
            return 200, {}
        if match := re.fullmatch(r"instances/([^/]+)/(state|end|interrupt)", path):
            return self._instance(match.group(1), match.group(2), body)
        if match := re.fullmatch(r"databases/([^/]+)/(status|password)", path):
            return self._database(match.group(1), match.group(2), body)
        return 404, {"error": "no such endpoint"}

    def _has_token(self, environ: WSGIEnvironment) -> bool:
        authorization = str(environ.get("HTTP_AUTHORIZATION", ""))
        return hmac.compare_digest(authorization.encode(), f"Bearer {self.token}".encode())

    def _health(self) -> Mapping[str, object]:
        seen = self.supervisor_seen
        return {
            "status": "ok",
            **self.facts,
            "supervisor": {"seen_seconds_ago": round(time.time() - seen, 1) if seen else None},
        }

    def _instance(self, identifier: str, what: str, body: _Body) -> Answer:
        if what == "state":
            return 200, {"done": self.backends.report_instance(identifier, body["state"], body["expected"])}
        if what == "end":
            done = self.backends.end_instance(identifier, body["state"], body["code"], body["message"])
            return 200, {"done": done}
        return self._interrupt(identifier, body)

    def _interrupt(self, identifier: str, body: _Body) -> Answer:
        """Order a spot interruption: the notice now, the end when the time is up."""
        instance = self.backends.instance(identifier)
        if instance is None or instance._state.name != "running":
            return 409, {"error": f"instance '{identifier}' isn't running"}
        seconds = float(body.get("notice_seconds") or self.notice_seconds)
        now = datetime.now(UTC)
        at = now + timedelta(seconds=seconds)
        form = "%Y-%m-%dT%H:%M:%SZ"
        self.backends.interruptions[identifier] = {
            "action": "terminate",
            "time": at.strftime(form),
            "notice": now.strftime(form),
        }
        self.backends.changes.bump()
        timer = threading.Timer(
            seconds,
            self.backends.end_instance,
            (identifier, "shutting-down", "Server.SpotInstanceTermination", "Spot instance termination"),
        )
        timer.daemon = True
        timer.start()
        return 200, {"action": "terminate", "time": at.strftime(form), "spot": instance.lifecycle == "spot"}

    def _database(self, identifier: str, what: str, body: _Body) -> Answer:
        if what == "password":
            password = self.backends.database_password(identifier)
            if password is None:
                return 404, {"error": "no such database"}
            return 200, {"password": password}
        return 200, {"done": self.backends.report_database(identifier, body["status"], body.get("fault"))}

    def _registry_events(self, environ: WSGIEnvironment) -> Answer:
        if not self._has_token(environ):
            return 403, {"error": "only the registry may report pushes"}
        events = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        # Answer first: the registry waits for it, and has to return the manifest meanwhile.
        threading.Thread(target=self.registry.pushed, args=(events,), daemon=True).start()
        return 200, {}


def _service(environ: WSGIEnvironment) -> str:
    match = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    if match:
        return match.group(1).lower()
    return "s3" if "X-Amz-Credential" in environ.get("QUERY_STRING", "") else ""
