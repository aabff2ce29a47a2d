"""Ray's job server on the head, spoken to through the tunnel: submit, ask, stop.

Plain HTTP rather than Ray's own client: importing that takes a second, and it wants the laptop's Ray to be the
cluster's. Protocol: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rayform_core.errors import ConflictError, NotFoundError, RemoteError

__all__ = ["JobServer", "JobStatus"]

_TIMEOUT = 15.0
_MOST_TASKS = 10_000


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job stands: `PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `STOPPED`, and Ray's words on it."""

    status: str
    message: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing works on it any more."""
        return self.status not in ("PENDING", "RUNNING")


class JobServer:
    """The job server behind a local port.

    Args:
        port: of this machine, where the tunnel begins.
        token: of the Ray cluster.
    """

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token

    def __repr__(self) -> str:
        return f"JobServer(127.0.0.1:{self._port})"

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        *,
        metadata: Mapping[str, str],
        environment: Mapping[str, str] = {},
    ) -> None:
        """Start a job; one that was submitted under this ID before is left alone.

        Raises:
            RemoteError: the server refuses or doesn't answer.
        """
        body = {
            "entrypoint": entrypoint,
            "submission_id": job_id,
            "metadata": dict(metadata),
            "runtime_env": {"env_vars": dict(environment)} if environment else {},
        }
        try:
            self._ask("POST", "/api/jobs/", body)
        except ConflictError:
            return

    def status(self, job_id: str) -> JobStatus:
        """Return where a job stands.

        Raises:
            NotFoundError: the server doesn't know it (its head was replaced).
            RemoteError: the server doesn't answer.
        """
        found = self._ask("GET", f"/api/jobs/{quote(job_id)}")
        return JobStatus(str(found.get("status")), str(found.get("message") or ""))

    def logs(self, job_id: str) -> str:
        """Return what a job's own process printed."""
        return str(self._ask("GET", f"/api/jobs/{quote(job_id)}/logs").get("logs") or "")

    def stop(self, job_id: str) -> None:
        """End a job. One that ended, or isn't known, is no error."""
        try:
            self._ask("POST", f"/api/jobs/{quote(job_id)}/stop")
        except NotFoundError:
            return

    def running(self, prefix: str = "") -> list[str]:
        """Return the IDs of the jobs at work that begin with `prefix`."""
        return list(self.running_with_metadata(prefix))

    def running_with_metadata(self, prefix: str = "") -> dict[str, dict[str, str]]:
        """Return the jobs at work whose ID begins with `prefix`, each with what `submit` was told of it."""
        return {
            str(job["submission_id"]): dict(job.get("metadata") or {})
            for job in self._ask("GET", "/api/jobs/")
            if job.get("status") in ("PENDING", "RUNNING")
            and str(job.get("submission_id") or "").startswith(prefix)
        }

    def running_tasks(self) -> dict[str, list[str]]:
        """Return the names of the tasks at work, by the ID of the node; a second late, as Ray reports them.

        Source: Ray's state API, https://docs.ray.io/en/latest/ray-observability/reference/api.html
        """
        is_running = "filter_keys=state&filter_predicates=%3D&filter_values=RUNNING"
        found = self._ask("GET", f"/api/v0/tasks?limit={_MOST_TASKS}&{is_running}")
        tasks: dict[str, list[str]] = {}
        for task in ((found.get("data") or {}).get("result") or {}).get("result") or ():
            tasks.setdefault(str(task.get("node_id")), []).append(str(task.get("name")))
        return tasks

    def nodes(self) -> list[dict[str, Any]]:
        """Return Ray's own summary of each node."""
        found = self._ask("GET", "/nodes?view=summary")
        return list((found.get("data") or {}).get("summary") or [])

    def cluster_status(self) -> dict[str, Any]:
        """Return the autoscaler's view: load, usage, pending nodes; empty without an autoscaler."""
        found = self._ask("GET", "/api/cluster_status")
        return dict((found.get("data") or {}).get("clusterStatus") or {})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(
                "The cluster's job server doesn't answer.",
                why=f"{error or type(error).__name__}.",
                hint="`rayform cluster status` shows whether the head's Ray runs.",
            ) from error
        finally:
            connection.close()
        text = data.decode(errors="replace")
        if answer.status == 404:
            raise NotFoundError("job", path.split("/")[3] if path.count("/") > 2 else path)
        if answer.status in (401, 403):
            raise RemoteError(
                "The cluster's job server refuses the token.",
                hint="The token was changed while the head ran: restart the head (`rayform stack stop`, `start`).",
            )
        if answer.status >= 400:
            if "already exists" in text:
                raise ConflictError("The job was submitted before.")
            raise RemoteError(
                f"The cluster's job server answered HTTP {answer.status}.",
                why=text.strip().splitlines()[-1][:300] if text.strip() else None,
            )
        return json.loads(text) if text.strip() else {}
