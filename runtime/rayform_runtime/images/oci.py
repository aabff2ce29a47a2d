"""Any OCI registry: `find` uses its HTTP API, `push` uses the Docker Engine.

Protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md, and for the login
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from rayform_core.errors import PrerequisiteError, RemoteError, UsageError
from rayform_runtime.images.docker_engine import docker_engine
from rayform_runtime.images.interface import (
    ContainerRegistry,
    ImageReference,
    PushEvent,
    RegistryCredentials,
)

if TYPE_CHECKING:
    import docker
    import requests

__all__ = ["OCIRegistry"]

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_TRIES = 4
_TRANSIENT = re.compile(
    r"(?i)timeout|timed out|reset by peer|EOF|connection refused|50[0234]|too many requests|temporar"
)


class _Config(Protocol):
    @property
    def uri(self) -> str: ...


class OCIRegistry(ContainerRegistry):
    """A registry that speaks the OCI distribution protocol, with the Docker client's own credentials.

    Args:
        config: `uri` is `host[:port]/repository`; `insecure`, if the flavor has it, allows plain HTTP.
        stack_name: the stack that the registry belongs to, for errors.

    Raises:
        UsageError: `uri` isn't the address of a repository.
    """

    def __init__(self, config: _Config, *, stack_name: str = "") -> None:
        self.uri = config.uri.removeprefix("https://").removeprefix("http://").rstrip("/")
        host, slash, repository = self.uri.partition("/")
        if not slash or not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", host) or not repository:
            raise UsageError(
                f"'{config.uri}' isn't the address of a repository.",
                hint="Write it as host[:port]/repository, for example registry.example.com/team/steps.",
            )
        self.host, self.repository = host, repository
        self.stack_name = stack_name
        self.insecure = bool(getattr(config, "insecure", False))

    def credentials(self) -> RegistryCredentials | None:
        """See `ContainerRegistry.credentials`: the login that `docker login` stored."""
        from docker.auth import load_config

        login = load_config().resolve_authconfig(self.host)
        if not login or not login.get("username"):
            return None
        return RegistryCredentials(str(login["username"]), str(login.get("password") or ""))

    def find(self, tag: str) -> ImageReference | None:
        """See `ContainerRegistry.find`."""
        answer = self._ask("HEAD", f"/v2/{self.repository}/manifests/{tag}", {"Accept": _MANIFESTS})
        if answer.status_code == 404:
            return None
        self._raise_for(answer, f"look up '{self.repository}:{tag}'")
        return ImageReference(self.uri, tag, answer.headers.get("Docker-Content-Digest"))

    def push(
        self, local_tag: str, tag: str, progress: Callable[[PushEvent], None] | None = None
    ) -> ImageReference:
        """See `ContainerRegistry.push`."""
        from docker.errors import ImageNotFound

        client = docker_engine()
        try:
            try:
                client.images.get(local_tag).tag(self.uri, tag)
            except ImageNotFound as error:
                raise PrerequisiteError(
                    f"The image '{local_tag}' isn't on this machine, so it can't be pushed.",
                    why="Another program removed it after it was built.",
                    hint="Run again, which builds it again.",
                ) from error
            for attempt in range(1, _TRIES + 1):
                failure = self._push_once(client, tag, progress)
                if not failure:
                    break
                if attempt == _TRIES or not _TRANSIENT.search(failure):
                    raise self._refused(failure)
                time.sleep(0.5 * 2**attempt)
        finally:
            client.close()
        image = self.find(tag)
        if image is None:
            raise RemoteError(
                f"The container registry '{self.host}' accepted the image '{tag}', but doesn't have it.",
                hint="Look for a clean-up rule in the registry that removes new images at once.",
            )
        return image

    def _push_once(
        self, client: docker.DockerClient, tag: str, progress: Callable[[PushEvent], None] | None
    ) -> str:
        """Push the image, and return why that failed; empty if it succeeded."""
        from docker.errors import APIError

        login = self.credentials()
        auth = {"username": login.username, "password": login.password} if login else None
        failure = ""
        try:
            for event in client.api.push(self.uri, tag, stream=True, decode=True, auth_config=auth):
                failure = failure or str(event.get("error") or "")
                if progress is not None:
                    progress(event)
        except APIError as error:
            failure = str(error.explanation or error)
        return failure

    def check(self) -> None:
        """See `ContainerRegistry.check`."""
        answer = self._ask("GET", "/v2/", {})
        self._raise_for(answer, "be reached")

    # -- HTTP ---------------------------------------------------------------------------------------------
    def _ask(self, method: str, path: str, headers: dict[str, str]) -> requests.Response:
        import requests

        address = f"{'http' if self.insecure else 'https'}://{self.host}{path}"
        error: Exception | None = None
        answer: requests.Response | None = None
        for attempt in range(_TRIES):
            try:
                answer = requests.request(method, address, headers=headers, timeout=15, allow_redirects=True)
                if answer.status_code == 401:
                    login = self._login(answer.headers.get("WWW-Authenticate", ""))
                    if login is not None:
                        answer = requests.request(method, address, headers={**headers, **login}, timeout=15)
                if answer.status_code < 500:
                    return answer
                error = None
            except requests.RequestException as failure:
                error = failure
            time.sleep(0.3 * 2**attempt)
        if error is not None or answer is None:
            raise RemoteError(
                f"The container registry '{self.host}' doesn't answer.",
                why=_reason(error) if error else None,
                hint="Check the network and the registry's address."
                + ("" if self.insecure else " If it serves plain HTTP, set `insecure: true`."),
            ) from error
        return answer

    def _login(self, challenge: str) -> dict[str, str] | None:
        """Return the header that answers a 401: Basic, or a bearer token from the realm that the registry names."""
        import requests

        login = self.credentials()
        if challenge.lower().startswith("basic"):
            if login is None:
                return None
            pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        details = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = details.pop("realm", "")
        # Without HTTPS the realm would receive the password in clear text.
        if not realm.startswith("https://") and not (self.insecure and realm.startswith("http://")):
            return None
        auth = (login.username, login.password) if login else None
        answer = requests.get(realm, params=details, auth=auth, timeout=15)
        if answer.status_code != 200:
            return None
        body = answer.json()
        return {"Authorization": f"Bearer {body.get('token') or body.get('access_token')}"}

    def _raise_for(self, answer: requests.Response, what: str) -> None:
        if answer.status_code in (401, 403):
            raise self._refused(f"HTTP {answer.status_code} {answer.reason}")
        if answer.status_code >= 400:
            raise RemoteError(
                f"The container registry '{self.host}' can't {what}.",
                why=f"HTTP {answer.status_code} {answer.reason}.",
                hint="Check the repository's address.",
            )

    def _refused(self, why: str) -> RemoteError:
        return RemoteError(
            f"The container registry '{self.host}' refuses access to '{self.repository}'.",
            why=why.strip().rstrip(".") + ".",
            hint=self._login_hint(),
        )

    def _login_hint(self) -> str:
        return f"Log in with `docker login {self.host}`, and check that you may push to the repository."


def _reason(error: Exception) -> str:
    text = str(error)
    cause = re.search(
        r"(Connection refused|Name or service not known|timed out|CERTIFICATE_VERIFY_FAILED[^)]*|WRONG_VERSION_NUMBER)",
        text,
    )
    return (cause.group(1) if cause else text[:200]).rstrip(".") + "."
