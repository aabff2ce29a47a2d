"""Requests signed by botocore pass; anything changed afterwards does not."""

from __future__ import annotations

import dataclasses
import datetime
import io
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rayform_localstack.api.authorization import action_of
from rayform_localstack.api.signature import SignatureError, Signed, parse, verify

SECRET = "a-secret"


def signed_environ(
    signer: type[Any], service: str, method: str, url: str, body: bytes = b"", **headers: str
) -> dict[str, Any]:
    """Sign a request as botocore does, and return what a WSGI server makes of it."""
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    signer(Credentials("AKIATEST", SECRET), service, "us-east-1").add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": parts.path,
        "RAW_URI": target,
        "QUERY_STRING": parts.query,
        "HTTP_HOST": parts.netloc,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in prepared.headers.items():
        text = value.decode() if isinstance(value, bytes) else value
        environ["HTTP_" + name.upper().replace("-", "_")] = text
        if name.lower() == "content-type":
            environ["CONTENT_TYPE"] = text
    return environ


CASES = [
    (SigV4Auth, "ec2", "POST", "http://198.18.1.1:4566/", b"Action=DescribeInstances&Version=2016-11-15"),
    (S3SigV4Auth, "s3", "GET", "http://198.18.1.1:4566/bucket?list-type=2&prefix=a%2Fb%20c", b""),
    (S3SigV4Auth, "s3", "PUT", "http://198.18.1.1:4566/bucket/with%20blank/%C3%BC", b"data"),
    (S3SigV4QueryAuth, "s3", "GET", "http://198.18.1.1:4566/bucket/key", b""),
]


@pytest.mark.parametrize(("signer", "service", "method", "url", "body"), CASES)
def test_what_botocore_signs_is_accepted(
    signer: type[Any], service: str, method: str, url: str, body: bytes
) -> None:
    """Signatures in headers and in the query are checked as AWS checks them."""
    environ = signed_environ(signer, service, method, url, body)
    signed = parse(environ)
    assert signed is not None
    assert (signed.access_key, signed.service) == ("AKIATEST", service)
    verify(signed, SECRET, environ)


@pytest.mark.parametrize(("signer", "service", "method", "url", "body"), CASES)
def test_another_secret_is_refused(
    signer: type[Any], service: str, method: str, url: str, body: bytes
) -> None:
    """A signature by another secret doesn't match."""
    environ = signed_environ(signer, service, method, url, body)
    signed = parse(environ)
    assert signed is not None
    with pytest.raises(SignatureError, match="does not match"):
        verify(signed, "another", environ)


def test_a_changed_body_or_path_is_refused() -> None:
    """What was signed is what must arrive."""
    environ = signed_environ(*CASES[0])  # type: ignore[arg-type]
    environ["wsgi.input"] = io.BytesIO(b"Action=TerminateInstance&Version=2016-11-15")
    with pytest.raises(SignatureError):
        verify(signed_of(environ), SECRET, environ)
    environ = signed_environ(*CASES[1])  # type: ignore[arg-type]
    environ["RAW_URI"] = "/other?list-type=2"
    with pytest.raises(SignatureError):
        verify(signed_of(environ), SECRET, environ)


def signed_of(environ: dict[str, Any]) -> Signed:
    """Return what a signed request says of its signature."""
    signed = parse(environ)
    assert signed is not None
    return signed


def test_an_old_request_is_refused() -> None:
    """A signature is good for a quarter of an hour."""
    environ = signed_environ(*CASES[0])  # type: ignore[arg-type]
    signed = signed_of(environ)
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=16)
    stale = dataclasses.replace(signed, timestamp=old.strftime("%Y%m%dT%H%M%SZ"))
    with pytest.raises(SignatureError, match="expired"):
        verify(stale, SECRET, environ)


@pytest.mark.parametrize(
    "authorization",
    ["AWS4-HMAC-SHA256 nonsense", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x"],
)
def test_a_signature_that_can_t_be_read_is_said(authorization: str) -> None:
    """A malformed header is an error of its own, not an unsigned request."""
    with pytest.raises(SignatureError, match="can't be read"):
        parse({"HTTP_AUTHORIZATION": authorization, "QUERY_STRING": ""})


@pytest.mark.parametrize(
    ("method", "path", "query", "action", "resource"),
    [
        ("GET", "/", "", "s3:ListAllMyBuckets", "*"),
        ("GET", "/b", "list-type=2&prefix=x", "s3:ListBucket", "arn:aws:s3:::b"),
        ("HEAD", "/b", "", "s3:ListBucket", "arn:aws:s3:::b"),
        ("GET", "/b", "versions", "s3:ListBucketVersions", "arn:aws:s3:::b"),
        ("PUT", "/b", "encryption", "s3:PutEncryptionConfiguration", "arn:aws:s3:::b"),
        ("GET", "/b", "policy", "s3:GetBucketPolicy", "arn:aws:s3:::b"),
        ("GET", "/b/k", "", "s3:GetObject", "arn:aws:s3:::b/k"),
        ("GET", "/b/k", "versionId=1", "s3:GetObjectVersion", "arn:aws:s3:::b/k"),
        ("PUT", "/b/k/l", "partNumber=1&uploadId=u", "s3:PutObject", "arn:aws:s3:::b/k/l"),
        ("POST", "/b/k", "uploads", "s3:PutObject", "arn:aws:s3:::b/k"),
        ("DELETE", "/b/k", "uploadId=u", "s3:AbortMultipartUpload", "arn:aws:s3:::b/k"),
        ("DELETE", "/b/k", "", "s3:DeleteObject", "arn:aws:s3:::b/k"),
    ],
)
def test_an_s3_request_asks_for_the_action_that_s3_documents(
    method: str, path: str, query: str, action: str, resource: str
) -> None:
    """Method, path and query together name the permission."""
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    signed = Signed("k", "d", "us-east-1", "s3", (), "s", "t", None, False)
    assert action_of(signed, environ, "123456789012")[:2] == (action, [resource])
