"""Signature Version 4, the checking side.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
A body is checked by the digest that the caller signed. If it signed none (all services but S3), the body is read and
put back into `wsgi.input`.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import io
import urllib.parse
from dataclasses import dataclass
from functools import lru_cache
from wsgiref.types import WSGIEnvironment

__all__ = ["SignatureError", "Signed", "parse", "read_body", "verify"]

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_SKEW = datetime.timedelta(minutes=15)
MAX_BODY = 64 << 20


class SignatureError(Exception):
    """A request's signature is missing parts, out of date or wrong."""


@dataclass(frozen=True)
class Signed:
    """The signature of a request, and what it covers.

    Args:
        access_key, token: the caller's key, and the token of its session.
        date, region, service: the scope that the key signs for.
        headers: names of the signed headers.
        signature: the signature itself.
        timestamp: when the caller signed.
        in_query: whether the signature is in the query, as in a presigned URL.
    """

    access_key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str
    timestamp: str
    token: str | None
    in_query: bool


def parse(environ: WSGIEnvironment) -> Signed | None:
    """Return a request's signature, or `None` if it isn't signed.

    Raises:
        SignatureError: there is a signature that can't be read.
    """
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    try:
        if authorization.startswith(ALGORITHM):
            fields = {}
            for part in authorization[len(ALGORITHM) :].split(","):
                name, _, value = part.strip().partition("=")
                fields[name] = value
            key, date, region, service, _ = fields["Credential"].rsplit("/", 4)
            timestamp = environ.get("HTTP_X_AMZ_DATE") or ""
            return Signed(
                key,
                date,
                region,
                service,
                tuple(fields["SignedHeaders"].split(";")),
                fields["Signature"],
                timestamp,
                environ.get("HTTP_X_AMZ_SECURITY_TOKEN"),
                False,
            )
        if query.get("X-Amz-Algorithm") == ALGORITHM:
            key, date, region, service, _ = query["X-Amz-Credential"].rsplit("/", 4)
            return Signed(
                key,
                date,
                region,
                service,
                tuple(query["X-Amz-SignedHeaders"].split(";")),
                query["X-Amz-Signature"],
                query["X-Amz-Date"],
                query.get("X-Amz-Security-Token"),
                True,
            )
    except (KeyError, ValueError) as error:
        raise SignatureError("The request's signature can't be read.") from error
    return None


def verify(signed: Signed, secret: str, environ: WSGIEnvironment) -> None:
    """Check the signature against the caller's secret.

    Raises:
        SignatureError: it is out of date or wrong.
    """
    _check_time(signed, environ)
    scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
    canonical = _canonical_request(signed, environ)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{signed.timestamp}\n{scope}\n{digest}"
    key = _signing_key(secret, signed.date, signed.region, signed.service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature, signed.signature):
        raise SignatureError("The request signature we calculated does not match the signature you provided.")


def _check_time(signed: Signed, environ: WSGIEnvironment) -> None:
    try:
        at = datetime.datetime.strptime(signed.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise SignatureError("The request has no readable X-Amz-Date.") from error
    now = datetime.datetime.now(datetime.UTC)
    valid = CLOCK_SKEW
    if signed.in_query:
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        valid = datetime.timedelta(seconds=min(int(query.get("X-Amz-Expires", "0") or 0), 604800))
    if now > at + valid or at > now + CLOCK_SKEW:
        raise SignatureError("The request has expired, or this machine's clock is off.")


def _canonical_request(signed: Signed, environ: WSGIEnvironment) -> str:
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO", "/"))
    path = target.partition("?")[0] or "/"
    if signed.service != "s3":
        path = urllib.parse.quote(path, safe="/-_.~")
    lines = [
        environ["REQUEST_METHOD"],
        path,
        _canonical_query(environ.get("QUERY_STRING", "")),
        *(f"{name}:{_header(environ, name)}" for name in signed.headers),
        "",
        ";".join(signed.headers),
        _payload_digest(signed, environ),
    ]
    return "\n".join(lines)


def _canonical_query(query: str) -> str:
    pairs = []
    for piece in query.split("&"):
        if not piece:
            continue
        name, _, value = piece.partition("=")
        if name == "X-Amz-Signature":
            continue
        pairs.append(
            tuple(urllib.parse.quote(urllib.parse.unquote_plus(p), safe="-_.~") for p in (name, value))
        )
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _header(environ: WSGIEnvironment, name: str) -> str:
    special = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
    value = environ.get(special.get(name) or "HTTP_" + name.upper().replace("-", "_"), "")
    return " ".join(str(value).split())


def _payload_digest(signed: Signed, environ: WSGIEnvironment) -> str:
    digest = environ.get("HTTP_X_AMZ_CONTENT_SHA256")
    if digest:
        return str(digest)
    if signed.in_query and signed.service == "s3":
        return "UNSIGNED-PAYLOAD"
    return hashlib.sha256(read_body(environ)).hexdigest()


def read_body(environ: WSGIEnvironment) -> bytes:
    """Read the whole body, and put it back for the next reader."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_BODY:
        raise SignatureError("The request's body is larger than an API call may be.")
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body


@lru_cache(maxsize=1024)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
