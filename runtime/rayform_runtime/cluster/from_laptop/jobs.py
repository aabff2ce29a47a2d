"""A client of Ray's job server on the head, which it reaches through the tunnel.

It speaks plain HTTP: importing Ray's own client takes a second, and needs the cluster's version of Ray on the laptop.
Protocol: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from rayform_core.errors import ConflictError, NotFoundError, RemoteError
from rayform_runtime.cluster.ray_answers import at, objects

__all__ = ["JobServer", "JobStatus", "RayNode"]

_TIMEOUT = 15.0
_MOST_TASKS = 10_000


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job's status (`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `STOPPED`), and Ray's message about it."""

    status: str
    message: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended."""
        return self.status not in ("PENDING", "RUNNING")


@dataclass(frozen=True, slots=True)
class RayNode:
    """One node of the cluster, by Ray's own summary.

    Args:
        address: its private address.
        node_id: Ray's ID.
        is_head: whether it is the head.
        state: `ALIVE` or `DEAD`.
        resources: what it has, by Ray's names (memory in bytes).
        cpu_percent: how busy it is; `None` if Ray doesn't report that.
    """

    address: str
    node_id: str
    is_head: bool
    state: str
    resources: Mapping[str, object]
    cpu_percent: object


class JobServer:
    """The job server behind a local port.

    Args:
        port: this machine's end of the tunnel.
        token: the Ray cluster's token.
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
        """Start a job. If there is one with this ID already, change nothing.

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
        """Return a job's status.

        Raises:
            NotFoundError: the server doesn't know the job (its head was replaced).
            RemoteError: the server doesn't answer.
        """
        answer = self._ask("GET", f"/api/jobs/{quote(job_id)}")
        return JobStatus(str(at(answer, "status")), str(at(answer, "message") or ""))

    def logs(self, job_id: str) -> str:
        """Return what a job's own process printed."""
        return str(at(self._ask("GET", f"/api/jobs/{quote(job_id)}/logs"), "logs") or "")

    def stop(self, job_id: str) -> None:
        """Stop a job. A job that has ended, or that the server doesn't know, is no error."""
        try:
            self._ask("POST", f"/api/jobs/{quote(job_id)}/stop")
        except NotFoundError:
            return

    def running(self, prefix: str = "") -> list[str]:
        """Return the IDs of the running jobs that begin with `prefix`."""
        return list(self.running_with_metadata(prefix))

    def running_with_metadata(self, prefix: str = "") -> dict[str, dict[str, str]]:
        """Return the running jobs whose ID begins with `prefix`, each with the metadata that `submit` got."""
        return {
            str(job["submission_id"]): _texts(job.get("metadata"))
            for job in objects(self._ask("GET", "/api/jobs/"))
            if job.get("status") in ("PENDING", "RUNNING")
            and str(job.get("submission_id") or "").startswith(prefix)
        }

    def running_tasks(self) -> dict[str, list[str]]:
        """Return the names of the running tasks, by the ID of their node. Ray reports them a second late.

        Source: Ray's state API, https://docs.ray.io/en/latest/ray-observability/reference/api.html
        """
        is_running = "filter_keys=state&filter_predicates=%3D&filter_values=RUNNING"
        answer = self._ask("GET", f"/api/v0/tasks?limit={_MOST_TASKS}&{is_running}")
        tasks: dict[str, list[str]] = {}
        for task in objects(at(answer, "data", "result", "result")):
            tasks.setdefault(str(task.get("node_id")), []).append(str(task.get("name")))
        return tasks

    def nodes(self) -> list[RayNode]:
        """Return the nodes that Ray knows, dead ones included."""
        return [
            _node(node) for node in objects(at(self._ask("GET", "/nodes?view=summary"), "data", "summary"))
        ]

    def pending_nodes(self) -> list[object]:
        """Return the nodes that the autoscaler is starting: `[address, group, state]` each, or as Ray reports them."""
        report = at(self._ask("GET", "/api/cluster_status"), "data", "clusterStatus", "autoscalerReport")
        pending = at(report, "pendingNodes") or at(report, "pending_nodes")
        return pending if isinstance(pending, list) else []

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> object:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(
                "The cluster's job server doesn't answer.",
                why=f"{str(error) or type(error).__name__}.",
                hint="`rayform cluster status` shows whether Ray runs on the head.",
            ) from error
        finally:
            connection.close()
        text = data.decode(errors="replace")
        if answer.status == 404:
            raise NotFoundError("job", path.split("/")[3] if path.count("/") > 2 else path)
        if answer.status in (401, 403):
            raise RemoteError(
                "The cluster's job server refuses the token.",
                hint="The token was changed while the head ran. Restart the head: `rayform stack stop`, then `start`.",
            )
        if answer.status >= 400:
            if "already exists" in text:
                raise ConflictError("The job was submitted before.")
            raise RemoteError(
                f"The cluster's job server answered HTTP {answer.status}.",
                why=text.strip().splitlines()[-1][:300] if text.strip() else None,
            )
        return _json(text)


def _json(text: str) -> object:
    content: object = json.loads(text) if text.strip() else {}
    return content


def _texts(metadata: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}


def _node(node: Mapping[str, object]) -> RayNode:
    raylet = node.get("raylet")
    resources = at(raylet, "resourcesTotal") or at(raylet, "resources_total")
    return RayNode(
        address=str(node.get("ip") or ""),
        node_id=str(at(raylet, "nodeId") or at(raylet, "node_id")),
        is_head=bool(at(raylet, "isHeadNode") or at(raylet, "is_head_node")),
        state=str(at(raylet, "state") or ""),
        resources=resources if isinstance(resources, dict) else {},
        cpu_percent=node.get("cpu"),
    )
