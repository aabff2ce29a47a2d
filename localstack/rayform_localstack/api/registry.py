"""Joins the two halves of ECR: the API's rows and the real registry's images.

The registry asks for a token (Docker's token authentication). This side issues one to a client that has ECR's login,
for repositories that exist in the API. Image data flows directly between Docker and the registry. The registry
reports every push, and the image appears in the API; an image that the API deletes is deleted in the registry.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and …/about/notifications/
"""

from __future__ import annotations

import base64
import datetime
import hmac
import http.client
import json
import logging
import secrets
import threading
import time
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict
from wsgiref.types import WSGIEnvironment

from rayform_localstack.api.authorization import Authorizer, Caller
from rayform_localstack.api.backends import Backends, registry_login
from rayform_localstack.api.layers import KeptLayers
from rayform_localstack.api.moto_parts import ECRBackend, RepositoryRow, ecr_backends, part

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

__all__ = ["RegistryGate"]

TOKEN_SECONDS = 3600
RIGHTS = {"pull": "ecr:BatchGetImage", "push": "ecr:PutImage"}
"""The action that a caller's policies must allow, by the registry's name for the right."""

SERVICE, ISSUER = "rayform-registry", "rayform-localstack"
MANIFESTS = ", ".join(
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
log = logging.getLogger(__name__)

Answer = tuple[int, Mapping[str, object]]
"""Status and JSON of an answer."""


class Grant(TypedDict):
    """Rights to a repository, as a token names them."""

    type: str
    name: str
    actions: list[str]


class _Target(TypedDict):
    repository: str
    tag: NotRequired[str]
    digest: NotRequired[str]


class _Event(TypedDict, total=False):
    action: str
    target: _Target | None


class Events(TypedDict, total=False):
    """What the registry reports."""

    events: list[_Event]


class RegistryGate:
    """Issues tokens for the registry and follows what is pushed to it.

    Args:
        backends: the cloud's state, whose rows the repositories are.
        address: host and port of the registry.
        authorizer: knows callers and what they may do.
        layers: image layers that outlive clouds; `None` keeps none.
    """

    def __init__(
        self, backends: Backends, address: str, authorizer: Authorizer, layers: KeptLayers | None = None
    ) -> None:
        self.backends = backends
        self.authorizer = authorizer
        self.address = address
        self.layers = layers
        self._key, self._certificate = _signing_key()
        """The key that signs tokens, which stays in memory, and its certificate; they never change."""

    def write_certificate(self, path: Path) -> None:
        """Write the certificate of the signing key, for the registry."""
        from cryptography.hazmat.primitives import serialization

        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        path.chmod(0o600)

    def token(self, environ: WSGIEnvironment) -> Answer:
        """Answer the token request of a Docker client."""
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
        caller = self._caller(environ.get("HTTP_AUTHORIZATION", ""))
        if caller is None:
            return 401, _error(
                "UNAUTHORIZED", "You aren't logged in to the registry, or the login is wrong: use ECR's."
            )
        granted: list[Grant] = []
        for scope in (s for value in query.get("scope", []) for s in value.split()):
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind != "repository":
                continue
            repository = self._repository(name)
            if repository is None:
                return 404, _error(
                    "NAME_UNKNOWN",
                    f"The repository with name '{name}' does not exist in the registry with id "
                    f"'{self.backends.account}'",
                )
            requested = [a for a in actions.split(",") if a in RIGHTS]
            allowed = [a for a in requested if self.authorizer.allows(caller, RIGHTS[a], repository.arn)]
            if "push" in requested and "push" not in allowed:
                return 403, _error(
                    "DENIED", f"User: {caller.arn} is not authorized to perform: {RIGHTS['push']}"
                )
            granted.append({"type": "repository", "name": name, "actions": allowed})
        if self.layers is not None:
            # Before the token, since Docker then asks for each layer.
            for grant in granted:
                if "push" in grant["actions"]:
                    self.layers.link(grant["name"])
        return 200, {"token": self._sign(granted), "expires_in": TOKEN_SECONDS}

    def _caller(self, authorization: str) -> Caller | None:
        """Return the caller that logged in with ECR's password; `None` if the login isn't valid."""
        try:
            kind, _, value = authorization.partition(" ")
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return None
        access_key = password.partition(".")[0]
        expected = registry_login(access_key, self.backends.registry_password)
        if kind.lower() != "basic" or user != "AWS":
            return None
        if not hmac.compare_digest(password.encode(), expected.encode()):
            return None
        return self.authorizer.owner(access_key)

    def _sign(self, access: Sequence[Grant]) -> str:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        now = int(time.time())
        certificate = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        header = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
        claims = {
            "iss": ISSUER,
            "sub": "AWS",
            "aud": SERVICE,
            "exp": now + TOKEN_SECONDS,
            "nbf": now - 60,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        body = b".".join(_b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(body, ec.ECDSA(hashes.SHA256())))
        return b".".join((body, _b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")))).decode()

    def _repository(self, name: str) -> RepositoryRow | None:
        for backend in self._backends():
            if name in backend.repositories:
                return backend.repositories[name]
        return None

    def _backends(self) -> Iterable[ECRBackend]:
        for account in list(ecr_backends().values()):
            yield from list(account.values())

    # Images both ways -----------------------------------------------------------------------------------------

    def pushed(self, events: Events) -> None:
        """Take the registry's report of pushes: each tagged manifest becomes an image in the API."""
        for event in events.get("events", []):
            target = event.get("target")
            if event.get("action") != "push" or target is None:
                continue
            tag, digest = target.get("tag"), target.get("digest")
            if tag and digest:
                try:
                    self._record(target["repository"], tag, digest)
                except Exception as error:  # noqa: BLE001 - whatever moto refuses, the next event must be read
                    log.warning("A push to %s doesn't appear in the API: %r", target.get("repository"), error)
                if self.layers is not None:
                    self.layers.keep()

    def _record(self, name: str, tag: str, digest: str) -> None:
        backend = next((b for b in self._backends() if name in b.repositories), None)
        if backend is None:
            return
        status, kind, manifest = self._call("GET", name, digest)
        if status != 200:
            raise LookupError(f"the registry answered {status} for {digest}")
        with self.backends.lock:
            images = backend.repositories[name].images
            if any(i.image_digest == digest and tag in i.image_tags for i in images):
                return
            backend.put_image(name, manifest.decode(), tag, image_manifest_mediatype=kind, digest=digest)

    def follow_deletions(self) -> None:
        """Delete from the registry the images that the API deletes."""
        backend_class = part("ecr.models:ECRBackend")

        gate = self
        batch_delete, delete_repository = backend_class.batch_delete_image, backend_class.delete_repository

        def digests(backend: ECRBackend, name: str) -> set[str]:
            repository = backend.repositories.get(name)
            return {i.image_digest for i in repository.images if i.image_digest} if repository else set()

        def new_batch_delete(
            backend: ECRBackend, repository_name: str, *args: object, **kwargs: object
        ) -> object:
            before = digests(backend, repository_name)
            result = batch_delete(backend, repository_name, *args, **kwargs)
            gate._delete(repository_name, before - digests(backend, repository_name))
            return result

        def new_delete_repository(
            backend: ECRBackend, repository_name: str, *args: object, **kwargs: object
        ) -> object:
            before = digests(backend, repository_name)
            result = delete_repository(backend, repository_name, *args, **kwargs)
            gate._delete(repository_name, before)
            return result

        backend_class.batch_delete_image = new_batch_delete
        backend_class.delete_repository = new_delete_repository

    def _delete(self, name: str, digests: set[str]) -> None:
        def work() -> None:
            for digest in digests:
                try:
                    self._call("DELETE", name, digest)
                except (OSError, http.client.HTTPException) as error:
                    log.warning("%s@%s stays in the registry: %r", name, digest, error)

        if digests:
            threading.Thread(target=work, daemon=True).start()

    def _call(self, method: str, name: str, digest: str) -> tuple[int, str, bytes]:
        grant: Grant = {"type": "repository", "name": name, "actions": ["pull", "push", "delete"]}
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self._sign([grant])}", "Accept": MANIFESTS}
            connection.request(method, f"/v2/{name}/manifests/{digest}", headers=headers)
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        finally:
            connection.close()


def _signing_key() -> tuple[EllipticCurvePrivateKey, Certificate]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _error(code: str, message: str) -> Mapping[str, object]:
    return {"errors": [{"code": code, "message": message}]}
