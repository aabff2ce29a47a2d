"""A client of the API process's control endpoints, for the supervisor and the command line."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from typing import TypedDict, cast

from rayform_core.errors import ConflictError, NotFoundError, RemoteError
from rayform_localstack.desired import Desired
from rayform_localstack.state import CloudState

__all__ = ["Control", "OrderedInterruption"]


class OrderedInterruption(TypedDict):
    """A spot interruption that was ordered: what happens at which time, and whether it is a spot instance."""

    action: str
    time: str
    spot: bool


class Control:
    """Calls the API process of one cloud.

    Args:
        state: the cloud.
    """

    def __init__(self, state: CloudState) -> None:
        self.state = state

    def health(self, timeout: float = 2.0) -> dict[str, object] | None:
        """Return the health page, or `None` if nothing answers."""
        try:
            return self._call("GET", "health", timeout=timeout)
        except RemoteError:
            return None

    def desired(self, since: int = 0, wait: float = 0.0) -> Desired:
        """Return what must be real, once its version isn't `since` any more, or after `wait` seconds."""
        query = urllib.parse.urlencode({"since": since, "wait": wait})
        return cast(Desired, self._call("GET", f"desired?{query}", timeout=wait + 15))

    def report(self, instance: str, state: str, expected: list[str]) -> bool:
        """Set an instance's state if it is one of `expected`; return whether it was."""
        answer = self._call("POST", f"instances/{instance}/state", {"state": state, "expected": expected})
        return bool(answer["done"])

    def end(self, instance: str, state: str, code: str, message: str) -> bool:
        """Report that an instance ended by itself, and why; return whether it still lived for the API."""
        body = {"state": state, "code": code, "message": message}
        return bool(self._call("POST", f"instances/{instance}/end", body)["done"])

    def interrupt(self, instance: str, notice_seconds: float | None = None) -> OrderedInterruption:
        """Order a spot interruption."""
        body = {"notice_seconds": notice_seconds}
        return cast(OrderedInterruption, self._call("POST", f"instances/{instance}/interrupt", body))

    def report_database(self, database: str, status: str, fault: str | None = None) -> bool:
        """Set a database's status; return whether the database exists."""
        body = {"status": status, "fault": fault}
        return bool(self._call("POST", f"databases/{database}/status", body)["done"])

    def database_password(self, database: str) -> str:
        """Return the master password that a database must have."""
        return str(self._call("POST", f"databases/{database}/password", {})["password"])

    def report_supervisor(self) -> None:
        """Report that the supervisor runs."""
        self._call("POST", "supervisor", {})

    def _call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, timeout: float = 15.0
    ) -> dict[str, object]:
        connection = http.client.HTTPConnection(self.state.gateway, self.state.api_port, timeout=timeout)
        try:
            headers = {"Authorization": f"Bearer {self.state.token}"}
            payload = json.dumps(body).encode() if body is not None else None
            connection.request(method, f"/_rayform/{path}", body=payload, headers=headers)
            response = connection.getresponse()
            data: dict[str, object] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RemoteError(
                f"The emulated cloud's API at {self.state.endpoint} doesn't answer.",
                why=str(error),
                hint="Start it again: rayform localstack up.",
            ) from error
        finally:
            connection.close()
        if response.status == 404:
            raise NotFoundError("resource in the emulated cloud", path)
        if response.status == 409:
            raise ConflictError(f"The emulated cloud refused: {data.get('error')}.")
        if response.status >= 400:
            raise RemoteError(f"The emulated cloud answered {response.status}.", why=str(data.get("error")))
        return data
