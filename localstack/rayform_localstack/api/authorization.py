"""Finds out who calls and whether they may: every request is checked before a backend gets it.

The administrator (whose keys are in `endpoints.json`) may do everything. Users and roles may do what their policies
in the API allow, so a least-privilege role that is too narrow fails here as it would on AWS. The open editions of the
emulators enforce nothing or only parts, so this gate stands in front of both.
"""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from wsgiref.types import WSGIEnvironment

from rayform_localstack.api.moto_parts import PolicyRow, ec2_backends, part
from rayform_localstack.api.policies import allowed
from rayform_localstack.api.signature import SignatureError, Signed, parse, read_body, verify

__all__ = ["Authorizer", "Caller", "RefusedError", "action_of"]

S3_SUBRESOURCES = (
    "acl", "accelerate", "cors", "encryption", "lifecycle", "location", "logging", "notification",
    "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "replication",
    "requestPayment", "tagging", "versioning", "website", "legal-hold", "retention", "analytics", "inventory",
    "metrics", "intelligent-tiering",
)  # fmt: skip
S3_NAMES = {
    "cors": "CORS", "acl": "Acl", "encryption": "EncryptionConfiguration", "lifecycle": "LifecycleConfiguration",
    "publicAccessBlock": "PublicAccessBlock", "ownershipControls": "OwnershipControls",
    "accelerate": "AccelerateConfiguration",
    "replication": "ReplicationConfiguration", "object-lock": "ObjectLockConfiguration",
}  # fmt: skip
S3_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "DELETE": "Delete", "POST": "Put"}
SERVICE_PREFIX = {"monitoring": "cloudwatch", "tagging": "tag", "email": "ses"}


@dataclass(frozen=True)
class Caller:
    """The signer of a request; the administrator has no policies (`None`)."""

    arn: str
    secret: str
    token: str | None
    policies: Callable[[], Iterable[str]] | None
    expired: bool = False


@dataclass(frozen=True)
class RefusedError(Exception):
    """A refused request, worded as the service would."""

    status: int
    code: str
    message: str
    service: str


class Authorizer:
    """Checks requests.

    Args:
        access_key, secret_key: the administrator's.
        account: the account's number.
        enforce: whether callers' policies count; signatures always do.
    """

    def __init__(self, access_key: str, secret_key: str, account: str, *, enforce: bool) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.account = account
        self.enforce = enforce

    def check(self, environ: WSGIEnvironment) -> None:
        """Let a request pass, or refuse it.

        Raises:
            RefusedError: it isn't signed, its key isn't known, its signature is wrong, or it isn't allowed.
        """
        try:
            signed = parse(environ)
        except SignatureError as error:
            raise RefusedError(400, "IncompleteSignature", str(error), "s3") from error
        if signed is None:
            service = (
                "s3" if not environ.get("HTTP_X_AMZ_TARGET") and environ["REQUEST_METHOD"] != "POST" else ""
            )
            code = "AccessDenied" if service == "s3" else "MissingAuthenticationToken"
            raise RefusedError(403, code, "The request isn't signed: it has no credentials.", service)
        caller = self._caller(signed)
        try:
            verify(signed, caller.secret, environ)
        except SignatureError as error:
            raise RefusedError(403, "SignatureDoesNotMatch", str(error), signed.service) from error
        if caller.policies is None or not self.enforce:
            return
        action, resources, context = action_of(signed, environ, self.account)
        if action in {"sts:GetCallerIdentity", "sts:GetSessionToken"}:
            return
        if not allowed(caller.policies(), action, resources, context):
            on = f" on resource: {resources[0]}" if resources else ""
            code = {"s3": "AccessDenied", "ec2": "UnauthorizedOperation"}.get(
                signed.service, "AccessDeniedException"
            )
            raise RefusedError(
                403, code, f"User: {caller.arn} is not authorized to perform: {action}{on}", signed.service
            )

    def owner(self, access_key: str) -> Caller | None:
        """Return the owner of an access key, or `None`."""
        if access_key == self.access_key:
            return Caller(f"arn:aws:iam::{self.account}:root", self.secret_key, None, None)
        return self._role(access_key) or self._user(access_key)

    def allows(self, caller: Caller, action: str, resource: str) -> bool:
        """Return whether a caller's policies allow an action on a resource."""
        if caller.policies is None or not self.enforce:
            return True
        return allowed(caller.policies(), action, [resource], {"aws:SecureTransport": "true"})

    def _caller(self, signed: Signed) -> Caller:
        caller = self.owner(signed.access_key)
        if caller is not None and caller.expired:
            raise RefusedError(
                403, "ExpiredToken", "The security token included in the request is expired.", signed.service
            )
        if caller is None or (caller.token is not None and caller.token != signed.token):
            code = "InvalidAccessKeyId" if signed.service == "s3" else "InvalidClientTokenId"
            raise RefusedError(
                403,
                code,
                f"The access key '{signed.access_key}' isn't known to this emulated cloud.",
                signed.service,
            )
        return caller

    def _role(self, access_key: str) -> Caller | None:
        iam_backends = part("iam.models:iam_backends")
        sts_backends = part("sts.models:sts_backends")

        backend = sts_backends[self.account]["aws"]
        role = backend.get_assumed_role_from_access_key(access_key)
        if role is None:
            return None
        expires = role.expiration
        if expires.tzinfo is None:
            expires = expires.replace(tzinfo=datetime.UTC)
        expired = expires < datetime.datetime.now(datetime.UTC)

        def policies() -> Iterable[str]:
            iam = iam_backends[self.account]["aws"]
            name = role.role_arn.rsplit("/", 1)[-1]
            yield from (
                _text(iam.get_role_policy(name, policy)[1]) for policy in iam.list_role_policies(name)
            )
            attached = iam.list_attached_role_policies(name)[0]
            yield from (_default_version(policy) for policy in attached)

        return Caller(role.arn, role.secret_access_key, role.session_token, policies, expired)

    def _user(self, access_key: str) -> Caller | None:
        iam_backends = part("iam.models:iam_backends")

        iam = iam_backends[self.account]["aws"]
        for user in list(iam.users.values()):
            for key in user.access_keys:
                if key.access_key_id != access_key or key.status != "Active":
                    continue

                def policies(name: str = user.name) -> Iterable[str]:
                    for policy in iam.list_user_policies(name):
                        yield _text(iam.get_user_policy(name, policy)["policy_document"])
                    yield from (_default_version(p) for p in iam.list_attached_user_policies(name)[0])
                    for group in iam.get_groups_for_user(name):
                        yield from (_text(d) for d in group.policies.values())
                        yield from (_default_version(p) for p in group.managed_policies.values())

                return Caller(user.arn, key.secret_access_key, None, policies)
        return None


def _text(document: object) -> str:
    return document if isinstance(document, str) else json.dumps(document)


def _default_version(policy: PolicyRow) -> str:
    return next(_text(version.document) for version in policy.versions if version.is_default)


def action_of(
    signed: Signed, environ: WSGIEnvironment, account: str
) -> tuple[str, list[str] | None, dict[str, str]]:
    """Return a request's action, the ARNs that it touches (`None` if they aren't known), and the context."""
    context = {
        "aws:RequestedRegion": signed.region,
        "aws:SecureTransport": "true",
        "aws:PrincipalAccount": account,
    }
    if signed.service == "s3":
        action, resources = _s3_action(environ)
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
        if action.startswith("s3:ListBucket"):
            context["s3:prefix"] = query.get("prefix", "")
        return action, resources, context
    prefix = SERVICE_PREFIX.get(signed.service, signed.service)
    target = environ.get("HTTP_X_AMZ_TARGET")
    body = read_body(environ)
    if target:
        name = target.rpartition(".")[2]
        try:
            arguments = json.loads(body or b"{}")
        except ValueError:
            arguments = {}
        return f"{prefix}:{name}", _json_resources(prefix, arguments, signed.region, account), context
    form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    form = form or dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
    return f"{prefix}:{form.get('Action', '*')}", _form_resources(prefix, form, context, account), context


def _s3_action(environ: WSGIEnvironment) -> tuple[str, list[str]]:
    bucket, _, key = environ.get("PATH_INFO", "/").lstrip("/").partition("/")
    query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    arn = f"arn:aws:s3:::{bucket}"
    if not bucket:
        return "s3:ListAllMyBuckets", ["*"]
    if key:
        return _object_action(environ["REQUEST_METHOD"], query), [f"{arn}/{key}"]
    if environ["REQUEST_METHOD"] == "POST" and "delete" in query:
        names = re.findall(r"<Key>(.*?)</Key>", read_body(environ).decode("utf-8", "replace"))
        return "s3:DeleteObject", [f"{arn}/{name}" for name in names] or [f"{arn}/*"]
    return _bucket_action(environ["REQUEST_METHOD"], query), [arn]


def _bucket_action(method: str, query: Mapping[str, str]) -> str:
    for name in S3_SUBRESOURCES:
        if name in query:
            return _s3_bucket_action(S3_VERBS.get(method, "Get"), name)
    if "versions" in query:
        return "s3:ListBucketVersions"
    if "uploads" in query:
        return "s3:ListBucketMultipartUploads"
    return {"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket"}.get(method, "s3:ListBucket")


def _object_action(method: str, query: Mapping[str, str]) -> str:
    if method == "DELETE" and "uploadId" in query:
        return "s3:AbortMultipartUpload"
    if method == "GET" and "uploadId" in query:
        return "s3:ListMultipartUploadParts"
    verb = S3_VERBS.get(method, "Get")
    version = "Version" if "versionId" in query else ""
    if "tagging" in query:
        return f"s3:{verb}Object{version}Tagging"
    if "acl" in query:
        return f"s3:{verb}Object{version}Acl"
    return f"s3:{verb}Object{version if verb != 'Put' else ''}"


def _s3_bucket_action(verb: str, name: str) -> str:
    word = S3_NAMES.get(name, name[0].upper() + name[1:])
    verb = "Put" if verb == "Delete" and name not in {"policy", "website"} else verb
    plain = {
        "EncryptionConfiguration",
        "LifecycleConfiguration",
        "ReplicationConfiguration",
        "AccelerateConfiguration",
    }
    return f"s3:{verb}{'' if word in plain else 'Bucket'}{word}"


def _json_resources(
    service: str, arguments: dict[str, object], region: str, account: str
) -> list[str] | None:
    match service, arguments:
        case "secretsmanager", {"SecretId": str(identifier)}:
            return [_secret_arn(identifier, region, account)]
        case "ecr", {"repositoryName": str(name)}:
            return [f"arn:aws:ecr:{region}:{account}:repository/{name}"]
        case "ssm", {"Name": str(name)}:
            return [f"arn:aws:ssm:{region}:{account}:parameter/{name.lstrip('/')}"]
    return None


def _secret_arn(identifier: str, region: str, account: str) -> str:
    if identifier.startswith("arn:"):
        return identifier
    secretsmanager_backends = part("secretsmanager.models:secretsmanager_backends")

    secret = secretsmanager_backends[account][region].secrets.get(identifier)
    return (
        str(secret.arn) if secret else f"arn:aws:secretsmanager:{region}:{account}:secret:{identifier}-??????"
    )


def _form_resources(
    service: str, form: dict[str, str], context: dict[str, str], account: str
) -> list[str] | None:
    """Return the ARNs of the roles or instances that a form names, and add the instances' tags to the context."""
    if form.get("Action") in {"PassRole", "AssumeRole"} and form.get("RoleArn"):
        return [form["RoleArn"]]
    if service != "ec2":
        return None
    region = context["aws:RequestedRegion"]
    named = [value for key, value in form.items() if re.fullmatch(r"(InstanceId|ResourceId)(\.\d+)?", key)]
    if not named or form["Action"].startswith("Describe") or not all(n.startswith("i-") for n in named):
        return None
    for identifier in named:
        instance = ec2_backends()[account][region].get_instance_by_id(identifier)
        for tag in instance.get_tags() if instance else []:
            for prefix in ("ec2:ResourceTag/", "aws:ResourceTag/"):
                context[prefix + tag["key"]] = str(tag["value"])
    return [f"arn:aws:ec2:{region}:{account}:instance/{identifier}" for identifier in named]
