"""ECR's two halves joined: the API's rows and the real registry's images.

The registry asks for a token (Docker's token authentication); this side gives one to whoever brings ECR's login,
for repositories that exist in the API alone. Image data flows between Docker and the registry without a detour.
The registry tells of every push, and the image appears in the API; an image deleted in the API is deleted there.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rayform_localstack.api.authorization import Authorizer, Caller
from rayform_localstack.api.backends import Backends, registry_login
from rayform_localstack.api.layers import KeptLayers
from rayform_localstack.api.moto_parts import part

__all__ = ["RegistryGate"]

TOKEN_SECONDS = 3600
RIGHTS = {"pull": "ecr:BatchGetImage", "push": "ecr:PutImage"}
"""What ECR asks a caller's policies for, by the registry's own word for it."""

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

Answer = tuple[int, dict[str, Any]]


class RegistryGate:
    """Issues tokens for the registry and follows what is pushed to it.

    Args:
        backends: where repositories are rows.
        address: host and port of the registry, for its manifests.
        authorizer: knows callers and what they may do.
        layers: image layers that outlive clouds, or `None` to do without.
    """

    def __init__(
        self, backends: Backends, address: str, authorizer: Authorizer, layers: KeptLayers | None = None
    ) -> None:
        self.backends = backends
        self.authorizer = authorizer
        self.address = address
        self.layers = layers
        self._key: Any = None
        self._certificate = b""

    def write_certificate(self, path: Path) -> None:
        """Make the signing key, which stays in memory, and write its certificate for the registry."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._certificate = certificate.public_bytes(serialization.Encoding.DER)
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        path.chmod(0o600)

    def token(self, environ: dict[str, Any]) -> Answer:
        """Answer the token request of a Docker client."""
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
        caller = self._caller(environ.get("HTTP_AUTHORIZATION", ""))
        if caller is None:
            return 401, _error(
                "UNAUTHORIZED", "Not logged in to the registry, or the login is wrong: use ECR's."
            )
        granted: list[dict[str, Any]] = []
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
            wanted = [a for a in actions.split(",") if a in RIGHTS]
            may = [a for a in wanted if self.authorizer.allows(caller, RIGHTS[a], repository.arn)]
            if "push" in wanted and "push" not in may:
                return 403, _error(
                    "DENIED", f"User: {caller.arn} is not authorized to perform: {RIGHTS['push']}"
                )
            granted.append({"type": "repository", "name": name, "actions": may})
        if self.layers is not None:
            # Before the token, since what Docker does next is ask for each layer.
            for grant in granted:
                if "push" in grant["actions"]:
                    self.layers.link(grant["name"])
        return 200, {"token": self._sign(granted), "expires_in": TOKEN_SECONDS}

    def _caller(self, authorization: str) -> Caller | None:
        """Return who logged in with ECR's password, or `None` for a login that isn't one."""
        try:
            kind, _, value = authorization.partition(" ")
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return None
        access_key = password.partition(".")[0]
        wanted = registry_login(access_key, self.backends.registry_password)
        if kind.lower() != "basic" or user != "AWS":
            return None
        if not hmac.compare_digest(password.encode(), wanted.encode()):
            return None
        return self.authorizer.known(access_key)

    def _sign(self, access: list[dict[str, Any]]) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(self._certificate).decode()]}
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

    def _repository(self, name: str) -> Any:
        for backend in self._backends():
            if name in backend.repositories:
                return backend.repositories[name]
        return None

    def _backends(self) -> Iterable[Any]:
        ecr_backends = part("ecr.models:ecr_backends")

        for account in list(ecr_backends.values()):
            yield from list(account.values())

    # Images both ways -----------------------------------------------------------------------------------------

    def pushed(self, events: dict[str, Any]) -> None:
        """Take the registry's word of pushes: each tagged manifest becomes an image in the API."""
        for event in events.get("events", []):
            target = event.get("target") or {}
            if event.get("action") == "push" and target.get("tag") and target.get("digest"):
                try:
                    self._record(target["repository"], target["tag"], target["digest"])
                except Exception as error:  # noqa: BLE001 - whatever moto refuses, the next event must be read
                    log.warning("A push to %s isn't in the API: %r", target.get("repository"), error)
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
        """Delete from the registry what is deleted from the API."""
        backend_class = part("ecr.models:ECRBackend")

        gate = self
        batch_delete, delete_repository = backend_class.batch_delete_image, backend_class.delete_repository

        def digests(backend: Any, name: str) -> set[str]:
            repository = backend.repositories.get(name)
            return {i.image_digest for i in repository.images if i.image_digest} if repository else set()

        def new_batch_delete(backend: Any, repository_name: str, *args: Any, **kwargs: Any) -> Any:
            before = digests(backend, repository_name)
            result = batch_delete(backend, repository_name, *args, **kwargs)
            gate._delete(repository_name, before - digests(backend, repository_name))
            return result

        def new_delete_repository(backend: Any, repository_name: str, *args: Any, **kwargs: Any) -> Any:
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
        grant = [{"type": "repository", "name": name, "actions": ["pull", "push", "delete"]}]
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self._sign(grant)}", "Accept": MANIFESTS}
            connection.request(method, f"/v2/{name}/manifests/{digest}", headers=headers)
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        finally:
            connection.close()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message}]}
